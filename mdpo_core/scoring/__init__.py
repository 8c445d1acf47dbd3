"""Token log-probs of every view in one forward."""
