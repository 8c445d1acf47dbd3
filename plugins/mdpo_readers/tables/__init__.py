"""Read stored rows: from a JSON file, or from a table of the library `datasets`."""
