from tests.erasure.house import house
from tests.royalties.label import label, label_database
from tests.transparency.press import press

__all__ = ["house", "label", "label_database", "press"]
