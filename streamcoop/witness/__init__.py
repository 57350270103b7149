"""Cosigning other co-ops' logs: the heads this service has seen of them, and what it holds against them."""
