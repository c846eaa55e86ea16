"""The migrations of the tables, run by `signalbox db upgrade`; how to write one: docs/decisions/0014."""
