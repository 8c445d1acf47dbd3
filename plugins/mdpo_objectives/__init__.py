"""Preference losses and reward anchors."""

from __future__ import annotations

from collections.abc import Mapping

from mdpo_core import Component, hookimpl
from mdpo_objectives.anchors import Reward
from mdpo_objectives.losses import DPO


@hookimpl
def mdpo_components() -> Mapping[str, type[Component]]:
    return {"dpo": DPO, "reward": Reward}
