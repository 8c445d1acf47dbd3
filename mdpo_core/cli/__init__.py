"""The command line: ``mdpo`` and ``mdpo-run``."""

from mdpo_core.cli.main import main, main_run

__all__ = ["main", "main_run"]
