"""Do the tests notice a wrong line: ``python -m tools.mutation FILE_OR_FOLDER ...``."""
