"""The special needs of each family of models: one row for each family.

A family is a ``model_type`` of transformers. A family without a row is `UNKNOWN`: it is computed with the forward of
transformers, one sequence for each view.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

# The tokens that are 1 in an input; all others are 0.
Marked = Literal["image tokens", "response tokens"]


@dataclass(frozen=True)
class Family:
    """The special needs of one family.

    ``separate``: why a prompt cannot be computed once for all its responses; empty if it can. ``projector``: a regular
    expression for parameters inside the vision encoder that belong to the projector. ``marks``: inputs with one number
    for each token, and the tokens marked 1. ``grid``: the input with the number of an image's patches in time, height
    and width, for models with positions in three dimensions (M-RoPE). ``idle``: a regular expression for parameters
    that no feature depends on. ``softcap``: the model limits its logits, by ``final_logit_softcapping``. ``vision``:
    the vision encoders that we have tested, for families that also use others (Pixtral's). ``num_images``: the
    smallest and the largest number of images in a row; None is no limit. ``reads_pixels``: the number of an image's
    features depends on its pixels, not only on their number.
    """

    separate: str = ""
    projector: str = r"$^"
    marks: Mapping[str, Marked] = field(default_factory=dict)
    grid: str = ""
    idle: str = r"$^"
    softcap: bool = False
    vision: tuple[str | None, ...] = ()
    num_images: tuple[int, int | None] = (0, None)
    reads_pixels: bool = False


_QWEN = Family(projector=r"\.merger\.", marks={"mm_token_type_ids": "image tokens"}, grid="image_grid_thw")

FAMILIES: Mapping[str, Family] = {
    "llava": Family(vision=("clip_vision_model", "siglip_vision_model", None)),
    "llava_next": Family(),
    # It shows the model fewer patches of each image if there are several, so an image depends on the whole row.
    "llava_onevision": Family(num_images=(0, 1)),
    "qwen2_vl": _QWEN,
    "qwen2_5_vl": _QWEN,
    "qwen3_vl": Family(projector=r"\.(merger|deepstack_merger_list)\.", marks=_QWEN.marks, grid=_QWEN.grid),
    "internvl": Family(),
    "idefics3": Family(reads_pixels=True),
    "smolvlm": Family(reads_pixels=True),
    "gemma3": Family(
        separate="the tokens of an image attend to one another in both directions, and layers have a sliding window",
        marks={"token_type_ids": "image tokens"},
    ),
    "paligemma": Family(
        separate="a prompt's tokens attend to one another in both directions",
        marks={"token_type_ids": "response tokens"},
        softcap=True,
        num_images=(1, None),
    ),
}
UNKNOWN = Family(separate="nobody has tested this family; see docs/extend/add-a-model.md")


def family_of(config: Mapping[str, Any]) -> Family:
    """The row of a ``config.json``, or `UNKNOWN`."""
    family = FAMILIES.get(str(config.get("model_type")), UNKNOWN)
    vision = config.get("vision_config")
    vision_type = vision.get("model_type") if isinstance(vision, Mapping) else None
    return family if not family.vision or vision_type in family.vision else UNKNOWN
