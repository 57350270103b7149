"""The co-op's books: a pure domain, with PostgreSQL at its edge in `ledger.store`.

Knows no HTTP, no Celery, no chain and no object store.
"""
