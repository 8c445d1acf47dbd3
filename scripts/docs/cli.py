"""The page cli.md: every command with its options, as ``--help`` prints them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

from mdpo_core.cli.parser import build_parser

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"
HEAD = """# Commands

Each text is what the command prints with `--help`. Exit codes: 0: done; 1: failed while running; 2: the recipe, a
plugin or the data is wrong; 128 + the signal's number: a signal stopped it.

<!-- Made by `python scripts/docs/make.py`; a test compares it. -->
"""


def page() -> str:
    """The help of `mdpo` and of each of its commands, at 80 columns."""
    with patch.dict(os.environ, {"COLUMNS": "80"}):
        parser = build_parser()
        texts = [("mdpo", parser.format_help()), *((each.prog, each.format_help()) for each in _commands(parser))]
    return HEAD + "".join(f"\n## {name}\n\n```text\n{text.rstrip()}\n```\n" for name, text in texts)


def _commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from (command, *_commands(command))
