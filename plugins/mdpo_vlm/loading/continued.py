"""Whether an adapter can be trained on as a recipe says: compared before weights are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mdpo_core import Part, PartTraining
from mdpo_vlm.families import Family
from mdpo_vlm.loading.shapes import without_weights
from mdpo_vlm.parts.adapter_folder import TENSORS
from mdpo_vlm.parts.embeddings import require_own_embeddings
from mdpo_vlm.parts.same_lora import require_same_lora


def require_continued(adapter: Path, base: Path, family: Family, training: Mapping[Part, PartTraining]) -> None:
    """Raise `RecipeError` unless ``training`` says exactly what the adapter on the model ``base`` is.

    Raises `DataError` if the adapter is not LoRA alone.
    """
    require_same_lora(adapter, lambda: without_weights(base), family, training)
    require_own_embeddings(adapter / TENSORS, base)
