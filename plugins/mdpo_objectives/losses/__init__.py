"""Preference losses: each file names its own, and they are joined here."""

from __future__ import annotations

from collections.abc import Mapping

from mdpo_core import Loss
from mdpo_objectives.losses import (
    absolute,
    batch_level,
    degrees,
    lengths,
    masks,
    out_of_scope,
    pairwise,
    reference_free,
    segments,
    several_views,
    soft_labels,
    tokens,
    visual,
)

_FILES = (
    pairwise,
    absolute,
    lengths,
    soft_labels,
    reference_free,
    tokens,
    segments,
    batch_level,
    several_views,
    masks,
    degrees,
    visual,
    out_of_scope,
)

LOSSES: Mapping[str, type[Loss]] = {name: cls for file in _FILES for name, cls in file.LOSSES.items()}
