"""Options that commands share, and which numbers they accept; argparse tells the user which one is wrong."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from importlib.metadata import version


def count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, found {text}")
    return int(text)


def not_negative(text: str) -> float:
    return within(text, "0 or more", lambda found: found >= 0)


def positive(text: str) -> float:
    return within(text, "above 0", lambda found: found > 0)


def share_or_all(text: str) -> float:
    return within(text, "above 0 and at most 1", lambda found: 0 < found <= 1)


def within(text: str, what: str, fits: Callable[[float], bool]) -> float:
    """A finite number that fits what is said of it."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not (math.isfinite(found) and fits(found)):
        raise argparse.ArgumentTypeError(f"must be {what}, found {text}")
    return found


def add_version(parser: argparse.ArgumentParser) -> None:
    """Add ``--version``, which prints the program's name and version and ends it."""
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('mdpo')}", help="print the version")
