"""The tutorial's commands run as written, and print what it shows."""

from __future__ import annotations

import re
import sys

import pytest
from support.paths import ROOT

sys.path.insert(0, str(ROOT / "scripts" / "docs"))

from tutorial import PAGE, page

# Which stages say how long they took, and where long lines break, depends on the time.
STAGE = re.compile(r"^[a-z ]+( \.\.\.|: .* s)\n", re.MULTILINE)


def plain(text: str) -> str:
    """The text without what differs from machine to machine: numbers, stages, and what fills tables up."""
    return re.sub(r"[\s━─═]+", " ", re.sub(r"[+-]?\d[\d.,:]*", "N", STAGE.sub("", text)))


@pytest.mark.long
def test_the_tutorial_prints_what_it_shows() -> None:
    assert plain(page(picture=None)) == plain(PAGE.read_text()), "run: python scripts/docs/tutorial.py"
