"""Celery workers: what the service does by itself. Tasks carry ids only; their effects are keyed in PostgreSQL."""
