"""What a family of models needs beyond the generic: one row each.

A family is a ``model_type`` of transformers. One that has no row is taken as `UNKNOWN`: by transformers' own forward,
one sequence for each view.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

# Which tokens of a row are 1 in an input, and which 0.
Marked = Literal["image tokens", "response tokens"]


@dataclass(frozen=True)
class Family:
    """A row of the table.

    ``separate``: why a prompt cannot be computed once for its responses; empty if it can. ``projector``: a pattern of
    those parameters inside the vision encoder that belong to the projector. ``marks``: inputs that say something of
    each token. ``grid``: the input that holds an image's patches in time, height and width, where positions are in
    three dimensions (M-RoPE). ``idle``: a pattern of parameters that no feature depends on. ``softcap``: logits are
    squeezed as the language model's configuration says. ``vision``: the vision encoders that were tried, if others
    are in use (Pixtral's). ``num_images``: how few and how many images a row may have.
    """

    separate: str = ""
    projector: str = r"$^"
    marks: Mapping[str, Marked] = field(default_factory=dict)
    grid: str = ""
    idle: str = r"$^"
    softcap: bool = False
    vision: tuple[str | None, ...] = ()
    num_images: tuple[int, int | None] = (0, None)


_QWEN = Family(projector=r"\.merger\.", marks={"mm_token_type_ids": "image tokens"}, grid="image_grid_thw")

FAMILIES: Mapping[str, Family] = {
    "llava": Family(vision=("clip_vision_model", "siglip_vision_model", None)),
    "llava_next": Family(),
    # Of several images, it shows the model less than of one alone; that depends on all of a row.
    "llava_onevision": Family(num_images=(0, 1)),
    "qwen2_vl": _QWEN,
    "qwen2_5_vl": _QWEN,
    "qwen3_vl": Family(projector=r"\.(merger|deepstack_merger_list)\.", marks=_QWEN.marks, grid=_QWEN.grid),
    "internvl": Family(),
    "idefics3": Family(),
    "smolvlm": Family(),
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
UNKNOWN = Family(separate="nobody has tried whether it can; see docs/extend/add-a-model.md")


def family_of(config: Mapping[str, Any]) -> Family:
    """The row of a ``config.json``, or `UNKNOWN`."""
    row = FAMILIES.get(str(config.get("model_type")), UNKNOWN)
    vision = config.get("vision_config")
    kind = vision.get("model_type") if isinstance(vision, Mapping) else None
    return row if not row.vision or kind in row.vision else UNKNOWN
