"""Where rows are stored: a JSON file, or a table of the library `datasets`."""
