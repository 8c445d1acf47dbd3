"""Pictures of rows: read from their files, turned, compared, and missed."""
