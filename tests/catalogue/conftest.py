from tests.catalogue.studio import sources, studio

__all__ = ["sources", "studio"]
