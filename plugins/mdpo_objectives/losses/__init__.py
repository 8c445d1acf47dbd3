"""Preference losses. Each file names its losses; this one collects them."""

from __future__ import annotations

from collections.abc import Mapping

from mdpo_core import Loss
from mdpo_objectives.losses import (
    absolute,
    batch_level,
    degrees,
    lengths,
    lists,
    masks,
    pairwise,
    reference_free,
    scoped_feedback,
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
    lists,
    masks,
    degrees,
    visual,
    scoped_feedback,
)

LOSSES: Mapping[str, type[Loss]] = {name: cls for file in _FILES for name, cls in file.LOSSES.items()}
