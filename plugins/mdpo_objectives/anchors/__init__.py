"""Anchors, which hold one view near an absolute level: each file names its own, and they are joined here."""

from __future__ import annotations

from collections.abc import Mapping

from mdpo_core import Anchor
from mdpo_objectives.anchors import (
    advantage,
    reward,
)

_FILES = (reward, advantage)

ANCHORS: Mapping[str, type[Anchor]] = {name: cls for file in _FILES for name, cls in file.ANCHORS.items()}
