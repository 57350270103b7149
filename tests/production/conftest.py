from tests.whole_service import service

__all__ = ["service"]
