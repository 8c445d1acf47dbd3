"""Anchors, which hold one view near an absolute level. Each file names its anchors; this one collects them."""

from __future__ import annotations

from collections.abc import Mapping

from mdpo_core import Anchor
from mdpo_objectives.anchors import (
    advantage,
    reward,
)

_FILES = (reward, advantage)

ANCHORS: Mapping[str, type[Anchor]] = {name: cls for file in _FILES for name, cls in file.ANCHORS.items()}
