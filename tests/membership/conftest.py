from tests.membership.coop import chain, coop

__all__ = ["chain", "coop"]
