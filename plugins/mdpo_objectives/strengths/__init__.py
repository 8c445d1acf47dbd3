"""Strengths, which give each pair a number of its own. Each file names its strengths; this one collects them."""

from __future__ import annotations

from collections.abc import Mapping

from mdpo_core import ColumnStrength, Strength
from mdpo_objectives.strengths import by_batch, by_score

_FILES = (by_score, by_batch)

STRENGTHS: Mapping[str, type[Strength]] = {
    "column": ColumnStrength,
    **{name: cls for file in _FILES for name, cls in file.STRENGTHS.items()},
}
