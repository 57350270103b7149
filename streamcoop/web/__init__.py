"""The web app: pages that read. Whatever a page changes it asks of the API, as any other client does."""
