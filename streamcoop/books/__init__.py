"""The co-op's books, open: balances at a glance for anyone, the whole check for operators."""
