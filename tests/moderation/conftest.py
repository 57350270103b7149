from tests.royalties.label import label, label_database

__all__ = ["label", "label_database"]
