"""LLaVA-1.5 and models of the same architecture, in the layout of transformers or of their authors."""

from __future__ import annotations

from collections.abc import Mapping

from mdpo_core import Component, hookimpl
from mdpo_llava.adapter import Llava


@hookimpl
def mdpo_components() -> Mapping[str, type[Component]]:
    return {"llava": Llava}
