"""A member's own auditor: reads a co-op's published log and recomputes all of it, taking nothing on the co-op's word.

Needs nothing of the service: the ledger's pure core, `cryptography`, and for the command `click` and `rich`.
"""
