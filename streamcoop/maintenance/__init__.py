"""Looking after a service: backups, restoring them, and holding off writes."""
