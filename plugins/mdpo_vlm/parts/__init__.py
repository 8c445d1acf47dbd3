"""The vision encoder, projector and language model: which parameters they own, and which of them train."""
