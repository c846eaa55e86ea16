"""The database: the engine, its tables and migrations, searching and pruning them, and copies of it."""
