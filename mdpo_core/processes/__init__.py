"""The processes of a run: who they are, how they meet, how they end."""
