"""The weighted sum of terms, and its metrics."""
