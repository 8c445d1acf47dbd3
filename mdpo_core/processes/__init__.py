"""The processes of a run: how they start, meet, exchange values, watch each other and end."""
