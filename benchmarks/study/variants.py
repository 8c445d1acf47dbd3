"""The variants of the study: what each changes of a world's recipe, and in which table of the paper it stands."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Part = Mapping[str, Any]

BASE = "base"  # the model before training

TEXT: Part = {"loss": "dpo", "beta": 0.1, "label": "text"}
ANCHOR: Part = {"anchor": "reward", "beta": 0.1, "on": "chosen", "label": "anchor"}
REJECTED: Part = {**ANCHOR, "on": "rejected", "direction": "below", "label": "anchor_rejected"}


def picture(condition: str) -> Part:
    """The image-conditional term: the chosen answer with its picture over that under ``condition``."""
    return {"loss": "dpo", "beta": 0.1, "over": f"chosen@{condition}", "label": "picture"}


@dataclass(frozen=True, eq=False)
class Variant:
    """An objective, and the corruptions that it reads besides the recipe's ``crop``."""

    name: str
    title: str
    objective: Sequence[Part]
    corruptions: Mapping[str, Part] = field(default_factory=dict)

    def options(self) -> list[str]:
        """What it changes of a recipe, as values of ``--set``; a JSON value is also one in YAML."""
        changed = [f"corruptions.{name}={json.dumps(dict(how))}" for name, how in self.corruptions.items()]
        return [*changed, f"objective={json.dumps([dict(term) for term in self.objective])}"]


VARIANTS = {
    each.name: each
    for each in (
        Variant("mdpo", "mDPO", (TEXT, picture("crop"), ANCHOR)),
        Variant("no_conditional", "mDPO without the conditional term", (TEXT, ANCHOR)),
        Variant("no_anchor", "mDPO without the anchor", (TEXT, picture("crop"))),
        Variant("dpo", "DPO", (TEXT,)),
        Variant(
            "dpo_no_image",
            "DPO (No Image)",
            ({**TEXT, "prefer": "chosen@blind", "over": "rejected@blind"},),
            {"blind": {"corruption": "no_image"}},
        ),
        Variant(
            "crop_20_50",
            "mDPO, crop of 20-50 %",
            (TEXT, picture("larger"), ANCHOR),
            {"larger": {"corruption": "random_crop", "area": [0.2, 0.5]}},
        ),
        Variant(
            "moco_v2",
            "mDPO, MoCo v2",
            (TEXT, picture("augmented"), ANCHOR),
            {"augmented": {"corruption": "moco_v2"}},
        ),
        Variant(
            "other_image",
            "mDPO, another pair's picture",
            (TEXT, picture("other"), ANCHOR),
            {"other": {"corruption": "other_image"}},
        ),
        Variant("anchor_rejected", "mDPO, anchors on both answers", (TEXT, picture("crop"), ANCHOR, REJECTED)),
        Variant(
            "anchor_all",
            "mDPO, three anchors",
            (
                TEXT,
                picture("crop"),
                ANCHOR,
                REJECTED,
                {**ANCHOR, "on": "chosen@crop", "direction": "below", "label": "anchor_picture"},
            ),
        ),
    )
}

# By the name of the table, the variants in it. "picture" is the paper's Figure 1, with the rows of its Table 1.
TABLES = {
    "picture": ("dpo", "dpo_no_image", "mdpo"),
    "table2": ("mdpo", "no_conditional", "no_anchor", "dpo"),
    "table3": ("mdpo", "crop_20_50", "moco_v2", "other_image"),
    "table4": ("mdpo", "anchor_rejected", "anchor_all"),
}


def title_of(variant: str) -> str:
    """The name of a variant, or of the model before training, as people read it."""
    return "the model before training" if variant == BASE else VARIANTS[variant].title
