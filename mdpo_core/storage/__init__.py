"""What a run keeps on the disk: whole or absent."""
