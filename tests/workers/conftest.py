from tests.royalties.label import label, label_database
from tests.whole_service import service

__all__ = ["label", "label_database", "service"]
