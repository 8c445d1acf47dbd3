"""The examples that are published methods: their formulas in plain numbers, their contracts, and their recipes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.pairs import ANSWERS, PROMPT
from support.processes.launching import records
from support.processes.own_environment import ROOT
from torch import tensor

from mdpo_core import DataError, Example, Scores, Turn, View, load_recipe, run

EXAMPLES = ROOT / "examples"
NATS = st.floats(-60, 0)


@cache
def module_of(name: str) -> ModuleType:
    """A plugin's module, without its components being offered to other tests."""
    found = spec_from_file_location(f"tested_{name}", EXAMPLES / name / f"{name}.py")
    assert found is not None
    assert found.loader is not None
    module = module_from_spec(found)
    found.loader.exec_module(module)
    return module


def scores_of(views: Sequence[View], policy: Sequence[float], reference: Sequence[float], **columns: float) -> Scores:
    sides = ([tensor([value]).double() for value in side] for side in (policy, reference))
    of_policy, of_reference = (dict(zip(views, side, strict=True)) for side in sides)
    return Scores.from_sums(of_policy, of_reference, columns={name: tensor([value]) for name, value in columns.items()})


def cost(margin: float, beta: float = 0.1) -> float:
    """-log sigmoid(beta margin)."""
    return math.log1p(math.exp(-beta * margin)) if margin > 0 else math.log1p(math.exp(beta * margin)) - beta * margin


@given(st.lists(NATS, min_size=8, max_size=8), st.lists(NATS, min_size=8, max_size=8), st.floats(0.1, 1))
def test_p2_dpo_is_the_formula_of_its_code(policy: list[float], reference: list[float], crop: float) -> None:
    loss = module_of("mdpo_p2_dpo").P2DPO()
    w, l, robust, noisy, w_enhanced, w_degraded, _, _ = policy  # noqa: E741
    ref_w, ref_l, ref_robust, ref_noisy, _, _, ref_enhanced, ref_degraded = reference
    focus = cost((w - ref_w) - (l - ref_l)) + 0.3 * cost((w_enhanced - w_degraded) - (ref_enhanced - ref_degraded))
    shift = 0.2 * math.tanh((crop / 0.5 - 1) / 0.1)
    expected = (0.5 + shift) * focus + (0.5 - shift) * cost((robust - ref_robust) - (noisy - ref_noisy))
    found = loss(scores_of(loss.views(), policy, reference, crop_score=crop, image_score=0.5))
    assert float(found) == pytest.approx(expected, rel=1e-5)


@given(st.lists(NATS, min_size=8, max_size=8), st.lists(NATS, min_size=8, max_size=8))
def test_ic_vco_is_the_formula_of_its_code(policy: list[float], reference: list[float]) -> None:
    loss = module_of("mdpo_ic_vco").ICVCO()
    ratios = [one - other for one, other in zip(policy, reference, strict=True)]
    better, worse = ratios[::2], ratios[1::2]  # of one picture: its own, the other; of both: about its own, the other
    margins = [one - other for one, other in zip(better, worse, strict=True)]
    of_one, of_both = (
        sum(cost(margins[place]) + cost(better[place]) for place in places) / 2 for places in ((0, 1), (2, 3))
    )
    taught = 0.0
    for student, teacher in ((margins[0], margins[2]), (margins[1], margins[3])):
        target = math.exp(-cost(teacher))
        if target > 0.5 and student < teacher:
            taught += (target * cost(student) + (1 - target) * cost(-student)) / 2
    expected = (1.75 * of_one + 0.75 * of_both + 0.4 * taught) / 2
    assert float(loss(scores_of(loss.views(), policy, reference))) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("name", "cls"), [("mdpo_ic_vco", "BothImages")])
def test_both_pictures_are_asked_about_in_one_order(name: str, cls: str) -> None:
    from PIL.Image import new

    made = getattr(module_of(name), cls)
    own, other = new("RGB", (2, 2)), new("RGB", (3, 3))
    orders = set()
    for number in range(8):
        row = Example(str(number), (Turn("user", "<image>\nWhat?"),), {}, (own,), other_images={"other": (other,)})
        shown = {about: made(picture="other", about=about).apply(row, None, ()) for about in ("own", "other")}
        assert shown["own"].images == shown["other"].images
        first = "own" if shown["own"].images == (own, other) else "other"
        for about, each in shown.items():
            which = "first" if about == first else "second"
            assert each.prompt == (Turn("user", f"<image><image>\nWhat? Answer based on the {which} image."),)
        orders.add(first)
    assert orders == {"own", "other"}


@pytest.mark.parametrize(("num_own", "num_others"), [(2, 1), (1, 2), (3, 2)])
def test_several_pictures_are_asked_about_by_their_places(num_own: int, num_others: int) -> None:
    from PIL.Image import new

    made = module_of("mdpo_ic_vco").BothImages
    own = tuple(new("RGB", (2, 2)) for _ in range(num_own))
    others = tuple(new("RGB", (3, 3)) for _ in range(num_others))
    words = {1: "image", 2: "2 images", 3: "3 images"}
    for number in range(8):
        row = Example(str(number), "<image>" * num_own + " What?", {}, own, other_images={"other": others})
        for about, asked in (("own", own), ("other", others)):
            shown = made(picture="other", about=about).apply(row, None, ())
            where = "first" if shown.images[: len(asked)] == asked else "last"
            assert shown.prompt.endswith(f" What? Answer based on the {where} {words[len(asked)]}.")
            assert shown.num_marks == len(shown.images)


@pytest.mark.parametrize(
    ("before", "behind"),
    [
        ("USER: <image>\nWhat?", " ASSISTANT:"),
        ("[INST] <image>\nWhat?", " [/INST]"),
        ("<|im_start|>user\n<image>What?", "<|im_end|>\n<|im_start|>assistant\n"),
        ("<|user|>\n<image>What?", "<|end|>\n<|assistant|>\n"),
        ("<image>What?", "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"),
        ("<start_of_turn>user\n<image>What?", "<end_of_turn>\n<start_of_turn>model\n"),
        ("<image>Who is the assistant?", ""),
    ],
)
def test_a_ready_made_prompt_asks_within_its_question(before: str, behind: str) -> None:
    from PIL.Image import new

    made = module_of("mdpo_ic_vco").BothImages(picture="other")
    row = Example("1", before + behind, {}, (new("RGB", (2, 2)),), other_images={"other": (new("RGB", (3, 3)),)})
    shown = made.apply(row, None, ()).prompt
    assert shown.startswith(before.replace("<image>", "<image><image>"))
    assert shown.endswith(f" image.{behind}")


def test_ic_vco_runs_with_ready_made_prompts(llava: Path, photographs: Path, tmp_path: Path) -> None:
    names = sorted(file.name for file in photographs.iterdir())
    answers = dict(zip(("chosen", "rejected"), ANSWERS, strict=False))
    row = {"img_path": names[0], "other_path": names[1], "prompt": PROMPT, **answers}
    changes = ["model.prompts=ready", "data.marks=as_written"]
    first, second = first_and_second("mdpo_ic_vco", row, llava, photographs, tmp_path, *changes)
    assert first["loss"] == pytest.approx(2.5 * math.log(2), abs=1e-5)
    assert second["loss"] < first["loss"]


@pytest.mark.long
@pytest.mark.parametrize("component", ["mdpo_p2_dpo.P2DPO", "mdpo_ic_vco.ICVCO", "mdpo_ic_vco.BothImages"])
def test_methods_keep_their_contracts(component: str, tmp_path: Path) -> None:
    name, _, cls = component.partition(".")
    getattr(module_of(name), cls).contract(tmp_path)


def test_p2_dpo_refuses_a_score_that_is_no_positive_number() -> None:
    loss = module_of("mdpo_p2_dpo").P2DPO()
    with pytest.raises(DataError, match="example '1': image_score: must be a positive number, found 0"):
        loss.check_columns(Scores.of_columns("1", {"crop_score": 0.3, "image_score": 0.0}))


def first_and_second(
    name: str, row: Mapping[str, Any], llava: Path, photographs: Path, folder: Path, *more: str
) -> list[Any]:
    (folder / "rows.jsonl").write_text(json.dumps(row) + "\n")
    changes = [
        f"model.path={llava}",
        f"data.path={folder / 'rows.jsonl'}",
        f"data.images={photographs}",
        "train.epochs=2",
        "train.batch_size=1",
        "train.learning_rate=1.0e-2",
        "backend={backend: local, precision: fp32}",
        f"output.dir={folder / 'run'}",
        *more,
    ]
    recipe = load_recipe(EXAMPLES / name / "recipe.yaml", changes, plugins=[EXAMPLES / name / f"{name}.py"])
    return list(records(run(recipe).run_dir))[:2]


def test_p2_dpo_runs_from_its_formula(llava: Path, photographs: Path, tmp_path: Path) -> None:
    names = sorted(file.name for file in photographs.iterdir())
    row = {
        "img_path": names[0],
        "enhanced_path": names[1],
        "degraded_path": names[2],
        "prompt": PROMPT,
        **dict(zip(("chosen", "rejected", "robust_chosen", "robust_rejected"), ANSWERS, strict=True)),
        "crop_score": 0.3,
        "image_score": 0.25,
    }
    first, second = first_and_second("mdpo_p2_dpo", row, llava, photographs, tmp_path)
    gains = [first[f"logps/{name}@enhanced"] - first[f"logps/{name}@degraded"] for name in ("chosen", "rejected")]
    shift = 0.2 * math.tanh(2)
    focus = math.log(2) + 0.3 * cost(gains[0] - gains[1])
    assert first["loss"] == pytest.approx((0.5 + shift) * focus + (0.5 - shift) * math.log(2), abs=1e-4)
    assert second["loss"] < first["loss"]


def test_ic_vco_runs_from_its_formula(llava: Path, photographs: Path, tmp_path: Path) -> None:
    names = sorted(file.name for file in photographs.iterdir())
    answers = dict(zip(("chosen", "rejected"), ANSWERS, strict=False))
    row = {"img_path": names[0], "other_path": names[1], "prompt": "What is in the picture?", **answers}
    first, second = first_and_second("mdpo_ic_vco", row, llava, photographs, tmp_path)
    assert first["loss"] == pytest.approx(2.5 * math.log(2), abs=1e-5)
    assert second["loss"] < first["loss"]
