"""The contract of strengths, and that of the options whose place they take."""
