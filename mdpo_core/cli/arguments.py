"""Options that several commands have, and the numbers that they accept. argparse prints the error with the option."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

from mdpo_core import __version__


def count(text: str) -> int:
    """A whole number above 0."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, found {text}")
    return int(text)


def not_negative(text: str) -> float:
    """A finite number, 0 or more."""
    return within(text, "0 or more", lambda value: value >= 0)


def positive(text: str) -> float:
    """A finite number above 0."""
    return within(text, "above 0", lambda value: value > 0)


def share_or_all(text: str) -> float:
    """A share: above 0 and at most 1."""
    return within(text, "above 0 and at most 1", lambda value: 0 < value <= 1)


def within(text: str, expected: str, fits: Callable[[float], bool]) -> float:
    """A finite number for which ``fits`` is true; ``expected`` describes such numbers in the error."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and fits(value)):
        raise argparse.ArgumentTypeError(f"must be {expected}, found {text}")
    return value


def add_version(parser: argparse.ArgumentParser) -> None:
    """Add ``--version``, which prints the name and the version of the program, then exits."""
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}", help="print the version")
