from tests.catalogue.studio import catalogue_database, sources, studio

__all__ = ["catalogue_database", "sources", "studio"]
