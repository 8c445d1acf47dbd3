"""Bunny (arXiv:2402.11530): SigLIP, a two-layer projector, and a small language model."""

from __future__ import annotations

from collections.abc import Mapping

from mdpo_bunny.adapter import Bunny
from mdpo_core import Component, hookimpl


@hookimpl
def mdpo_components() -> Mapping[str, type[Component]]:
    return {"bunny": Bunny}
