"""Readers of preference data."""

from __future__ import annotations

from collections.abc import Mapping

from mdpo_core import Component, hookimpl
from mdpo_readers.pairs import Pairs


@hookimpl
def mdpo_components() -> Mapping[str, type[Component]]:
    return {"pairs": Pairs}
