"""Splits and royalties: who is paid for a track, what for, and the statements that show it."""
