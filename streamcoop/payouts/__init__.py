"""Paying artists what they have earned: planned → sent → confirmed or returned, one at a time per payee, never twice."""
