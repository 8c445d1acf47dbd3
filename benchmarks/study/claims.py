"""The claims of the paper that the study puts to the test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["less", "more", "alike"]


@dataclass(frozen=True)
class Claim:
    """``first`` has less of a measure than ``second``, or more, or about as much.

    ``paper``: the paper's own numbers and where they stand. ``second``: a variant, `BASE` or `NOTHING`. ``measure``:
    ``first`` is the world's first one, which counts mistakes.
    """

    table: str
    text: str
    paper: str
    kind: Kind
    first: str
    second: str
    measure: str = "first"


CLAIMS = (
    Claim(
        "picture",
        "DPO without the picture does about as well as DPO with it",
        "Figure 1: about equal scores on MMHal-Bench",
        "alike",
        "dpo_no_image",
        "dpo",
    ),
    Claim(
        "picture",
        "mDPO hallucinates less than DPO without the picture",
        "Figure 1: the score of mDPO is far above",
        "less",
        "mdpo",
        "dpo_no_image",
    ),
    Claim(
        "table2",
        "mDPO hallucinates less than DPO, which has neither of its terms",
        "CHAIRs 27.0 against 44.3",
        "less",
        "mdpo",
        "dpo",
    ),
    Claim(
        "table2",
        "mDPO hallucinates less than the model before training",
        "CHAIRs 27.0 against 43.0 (Table 1)",
        "less",
        "mdpo",
        "base",
    ),
    Claim(
        "table2",
        "the conditional term lessens hallucination",
        "CHAIRs 27.0 with it, 40.3 without",
        "less",
        "mdpo",
        "no_conditional",
    ),
    Claim(
        "table2", "the anchor lessens hallucination", "CHAIRs 27.0 with it, 34.3 without", "less", "mdpo", "no_anchor"
    ),
    Claim(
        "table2",
        "the conditional term does more than the anchor",
        "CHAIRs 34.3 without the anchor, 40.3 without the conditional term",
        "less",
        "no_anchor",
        "no_conditional",
    ),
    Claim(
        "table2",
        "under DPO, right answers become less likely",
        "abstract: a problem of every relative preference",
        "less",
        "dpo",
        "zero",
        "chosen",
    ),
    Claim(
        "table2",
        "under mDPO, right answers become likelier",
        "abstract: the anchor keeps their reward positive",
        "more",
        "mdpo",
        "zero",
        "chosen",
    ),
    Claim(
        "table3",
        "a crop that keeps 0-20 % is a better rejected picture than that of another pair",
        "CHAIRs 27.0 against 40.7",
        "less",
        "mdpo",
        "other_image",
    ),
    Claim(
        "table3",
        "a crop that keeps 0-20 % is better than one that keeps 20-50 %",
        "CHAIRs 27.0 against 33.7",
        "less",
        "mdpo",
        "crop_20_50",
    ),
    Claim(
        "table3",
        "a crop that keeps 0-20 % is better than MoCo v2's augmentation",
        "CHAIRs 27.0 against 32.3",
        "less",
        "mdpo",
        "moco_v2",
    ),
    Claim(
        "table4",
        "a further anchor, on the rejected answer, changes little",
        "CHAIRs 29.3 against 27.0, score 2.98 against 2.96",
        "alike",
        "anchor_rejected",
        "mdpo",
    ),
    Claim(
        "table4",
        "anchors on the rejected answer and the rejected picture hallucinate more than one on the chosen answer",
        "CHAIRs 34.7 against 27.0",
        "less",
        "mdpo",
        "anchor_all",
    ),
)
