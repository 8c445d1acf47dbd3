"""What the recipes of published methods minimize, numbers included, against straight-line formulas."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import pytest
import torch
from support.paths import RECIPES

from mdpo_core import Scores, View, load_recipe
from mdpo_core.objective.objective import Objective
from mdpo_core.types.scores import ByView

ROWS = 20


@dataclass(frozen=True)
class Row:
    """Numbers of one row by view: policy, reference, tokens, divergence."""

    numbers: Mapping[str, tuple[float, float, float, float]]

    def lp(self, view: str) -> float:
        return self.numbers[view][0]

    def r(self, view: str) -> float:
        return self.numbers[view][0] - self.numbers[view][1]

    def mean_lp(self, view: str) -> float:
        return self.numbers[view][0] / self.numbers[view][2]

    def kl(self, view: str) -> float:
        return self.numbers[view][3]

    def dpo(self, beta: float, preferred: str, other: str) -> float:
        return -ls(beta * (self.r(preferred) - self.r(other)))


def ls(x: float) -> float:
    return min(x, 0.0) - math.log1p(math.exp(-abs(x)))


def chip(row: Row) -> float:
    divergences = row.kl("rejected") - row.kl("chosen")
    answers = -ls(0.5 * (row.r("chosen") - row.r("rejected") - 0.1 * divergences))
    return answers + row.dpo(0.5, "chosen", "chosen@noise")


def s_vco(row: Row) -> float:
    own = row.dpo(0.1, "chosen", "chosen@none") + row.dpo(0.1, "chosen@none", "chosen@counterfactual")
    return own + row.dpo(0.1, "rejected@counterfactual", "rejected@none") + row.dpo(0.1, "rejected@none", "rejected")


def symmpo(row: Row) -> float:
    first, second = row.r("chosen") - row.r("second"), row.r("second@second") - row.r("chosen@second")
    symmetric = -ls(0.1 * first) - ls(0.1 * second)
    anchors = -ls(0.1 * row.r("chosen")) - ls(0.1 * row.r("second@second"))
    return row.dpo(0.1, "chosen", "rejected") + 0.5 * symmetric + anchors + 1e-4 * (first - second) ** 2


def v_dpo(row: Row) -> float:
    guided = [
        1.5 * row.lp(view) - 0.5 * row.lp(f"{view}@noise") - (row.lp(view) - row.r(view))
        for view in ("chosen", "rejected")
    ]
    return -ls(0.1 * (guided[0] - guided[1])) + row.dpo(0.1, "chosen", "chosen@worse")


def mpo(row: Row) -> float:
    quality = -ls(0.1 * row.r("chosen")) - ls(-0.1 * row.r("rejected"))
    return 0.8 * row.dpo(0.1, "chosen", "rejected") + 0.2 * quality - row.mean_lp("chosen")


def mdpo(condition: str) -> Callable[[Row], float]:
    return lambda row: (
        row.dpo(0.1, "chosen", "rejected") + row.dpo(0.1, "chosen", f"chosen@{condition}") - ls(0.1 * row.r("chosen"))
    )


FORMULAS: dict[str, Callable[[Row], float]] = {
    "llava_mdpo.yaml": mdpo("crop"),
    "bunny_mdpo.yaml": mdpo("crop"),
    "qwen2_5_vl_mdpo.yaml": mdpo("crop"),
    "qwen2_5_vl_video.yaml": mdpo("shuffled"),
    "methods/mfpo.yaml": mdpo("noise"),
    "llava_dpo.yaml": lambda row: row.dpo(0.1, "chosen", "rejected"),
    "methods/hound_dpo.yaml": lambda row: row.dpo(0.1, "chosen", "rejected"),
    "methods/mpo.yaml": mpo,
    "methods/rpo.yaml": lambda row: row.dpo(0.1, "chosen", "rejected") - row.mean_lp("chosen"),
    "methods/re_align.yaml": lambda row: row.dpo(0.1, "chosen", "rejected") + row.dpo(0.1, "chosen", "chosen@similar"),
    "methods/chip.yaml": chip,
    "methods/chip_release.yaml": lambda row: (
        -ls(0.5 * (2 * row.r("chosen") - row.r("rejected") - row.r("chosen@noise")))
    ),
    "methods/s_vco.yaml": s_vco,
    "methods/symmpo.yaml": symmpo,
    "methods/v_dpo.yaml": v_dpo,
    "methods/rationale_dpo.yaml": lambda row: row.dpo(0.1, "chosen", "rejected") - row.lp("rationale@compared"),
}


def made_up(views: tuple[View, ...]) -> Scores:
    draw = torch.Generator().manual_seed(0)
    sides = [{view: -60 * torch.rand(ROWS, generator=draw, dtype=torch.float64) for view in views} for _ in range(3)]
    lengths = {view: torch.randint(1, 9, (ROWS,), generator=draw) for view in views}
    divergence = ByView({view: -sides[2][view][:, None] / 4 for view in views})
    scores = Scores.from_sums(sides[0], sides[1], lengths)
    return replace(scores, statistics={"divergence_from_reference": divergence})


@pytest.mark.parametrize("recipe", FORMULAS)
def test_a_recipe_minimizes_the_formula_of_its_method(recipe: str) -> None:
    loaded = load_recipe(RECIPES / recipe)
    objective = Objective(dict(zip(loaded.labels(), loaded.objective, strict=True)))
    scores = made_up(objective.reads.views)
    divergence = scores.statistics["divergence_from_reference"]
    for row, value in enumerate(objective(scores).loss.tolist()):
        sides = (scores.policy, scores.reference, scores.num_tokens)
        numbers = {
            str(view): (*(float(side[view][row]) for side in sides), float(divergence[view].sum(1)[row]))
            for view in objective.reads.views
        }
        assert value == pytest.approx(FORMULAS[recipe](Row(numbers)), rel=1e-9)  # type: ignore[arg-type]
