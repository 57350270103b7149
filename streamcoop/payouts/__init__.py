"""Paying artists what they have earned: planned, sent, then confirmed or returned; one at a time, never twice."""
