"""The vision encoder, projector and language model: which parameters belong to each, and which of them train."""
