"""Functions that several terms use; no file here defines a term."""
