"""From an event to the functions that want it: routing, the worker, retries, Celery, the registry of handlers."""
