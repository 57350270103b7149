"""A listener's wallet: top-ups and grants, limits, statements, and what she owns."""
