"""The database's schema, step by step. The books' steps are SQL files of `ledger.store`."""
