from tests.royalties.label import label, label_database
from tests.transparency.desk import desk
from tests.transparency.press import press

__all__ = ["desk", "label", "label_database", "press"]
