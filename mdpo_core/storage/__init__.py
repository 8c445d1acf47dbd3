"""The files of a run, which are written completely or not at all."""
