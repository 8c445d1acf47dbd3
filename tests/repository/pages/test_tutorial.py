"""The tutorial's commands run as written, and print what it shows."""

from __future__ import annotations

import re
import sys

import pytest
from support.paths import ROOT

sys.path.insert(0, str(ROOT / "scripts" / "docs"))

from tutorial import PAGE, page


def plain(text: str) -> str:
    """Numbers, and what fills tables up around them, differ from machine to machine."""
    return re.sub(r"[ ━─═]+", " ", re.sub(r"[+-]?\d[\d.,]*", "N", text))


@pytest.mark.long
def test_the_tutorial_prints_what_it_shows() -> None:
    assert plain(page(picture=None)) == plain(PAGE.read_text()), "run: python scripts/docs/tutorial.py"
