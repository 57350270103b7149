from tests.royalties.label import label, label_database
from tests.transparency.press import press

__all__ = ["label", "label_database", "press"]
