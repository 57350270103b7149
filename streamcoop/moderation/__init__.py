"""Moderation: music that is reported, what operators decide on it in the open, and one appeal, decided by another."""
