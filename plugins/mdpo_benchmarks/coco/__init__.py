"""COCO's objects: which ones a caption names, and which ones a picture shows (CHAIR, arXiv:1809.02156)."""
