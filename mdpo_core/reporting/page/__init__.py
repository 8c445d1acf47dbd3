"""Pages of one file: text, pictures and curves, without a server or a network."""
