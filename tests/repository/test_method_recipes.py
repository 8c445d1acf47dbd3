"""Recipes of published methods: each runs on rows with the columns that it names, and begins where its formula does."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import PIL.Image
import pytest
import torch
from support.pairs import ANSWERS, PROMPT
from support.paths import RECIPES
from support.processes.launching import records
from transformers import AutoModelForImageTextToText, AutoProcessor

from mdpo_core import load_recipe, run

RECIPES = RECIPES / "methods"
LOG_2 = math.log(2)
WHY = "Because there are no animals at all."
COMPARISON = "USER: <image>\nA pink flower. Or: Green leaves. Why is the first one better? ASSISTANT:"
Row = dict[str, object]


@dataclass(frozen=True)
class Likelihoods:
    """What plain transformers gives: the mean over rows of a response's log-prob, and of that per token."""

    of_rationale: float
    of_chosen_per_token: float


# At policy = reference: every margin and every reward is 0, every divergence, too.
EXPECTED: Mapping[str, Callable[[Likelihoods], float]] = {
    "mpo.yaml": lambda found: 0.8 * LOG_2 + 0.2 * 2 * LOG_2 - found.of_chosen_per_token,
    "rpo.yaml": lambda found: LOG_2 - found.of_chosen_per_token,
    "re_align.yaml": lambda _: 2 * LOG_2,
    "mfpo.yaml": lambda _: 3 * LOG_2,
    "chip.yaml": lambda _: 2 * LOG_2,
    "chip_release.yaml": lambda _: LOG_2,
    "s_vco.yaml": lambda _: 4 * LOG_2,
    "symmpo.yaml": lambda _: LOG_2 + 0.5 * 2 * LOG_2 + 2 * LOG_2,
    "s_dpo.yaml": lambda _: math.log(4),
    "lpoi.yaml": lambda _: LOG_2 + math.log(24) + LOG_2,
    "hound_dpo.yaml": lambda _: LOG_2,
    "v_dpo.yaml": lambda _: 2 * LOG_2,
    "rationale_dpo.yaml": lambda found: LOG_2 - found.of_rationale,
    "mm_rlhf.yaml": lambda found: LOG_2 - 0.25 * found.of_chosen_per_token,
    "beta_dpo.yaml": lambda _: LOG_2,
    "dama.yaml": lambda _: LOG_2,
    "sentinel.yaml": lambda _: LOG_2,
    "madpo.yaml": lambda _: LOG_2 * (madpo_weight(1.0) + madpo_weight(3.5)) / 2,
}
# The files of rows of those recipes that do not read pictures.json.
FILES = {"hound_dpo.yaml": "videos.json", "sentinel.yaml": "sentences.json"}
SENTENCES = ("image_path", "question", "context", "y_win", "y_lose")
# Each of these has a neighbour of its kind among the others.
LONG = {
    *("mm_rlhf.yaml", "dama.yaml", "madpo.yaml"),  # as beta_dpo.yaml, without means of the batch
    *("rpo.yaml", "re_align.yaml", "mfpo.yaml", "chip_release.yaml", "symmpo.yaml", "s_dpo.yaml"),
}


def madpo_weight(lead: float) -> float:
    """The weight of arXiv:2510.05342 with c_max 2, c_min 0.5, lambda 1 and tau log(999)."""
    factor = 0.5 + 1.5 / (1 + 2 * math.exp(abs(lead)) / 999)
    return (1 + math.exp(-lead)) / (1 + math.exp(-factor * lead))


def test_every_recipe_of_a_method_is_run_here() -> None:
    assert EXPECTED.keys() == {file.name for file in RECIPES.iterdir()}


@pytest.fixture(scope="module")
def rows(photographs: Path) -> list[Row]:
    names = sorted(file.name for file in photographs.iterdir())
    return [
        {
            "img_path": names[row],
            "prompt": PROMPT,
            "chosen": ANSWERS[row],
            "rejected": ANSWERS[row + 1],
            "clip_embedding": [float(row), 1.0],
            "keyword_boxes": [[10, 10, 200, 90.5], [0, 0, 20, 20]],
            "counterfactual_path": names[row + 1],
            "second_path": names[row + 2],
            "worse_path": names[row + 1],
            "second_answer": ANSWERS[row + 2],
            "rationale": WHY,
            "chosen_score": 4.0 + 2.5 * row,
            "rejected_score": 3.0,
            "similarity_gap": 0.3 * row,
            "comparison": COMPARISON,
            "rejected_2": ANSWERS[row + 2],
            "rejected_3": ANSWERS[(row + 3) % len(ANSWERS)] + " No.",
            "object_boxes": [[10, 10, 200, 90.5]],
            "image_path": names[row],
            "question": "What is in the picture?",
            "context": "So much is here." if row else "",
            "y_win": ANSWERS[row],
            "y_lose": ANSWERS[row + 1],
        }
        for row in range(2)
    ]


@pytest.fixture(scope="module")
def data(rows: list[Row], photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the rows in one file, about three frames each in another, and SENTINEL's columns in a third."""
    folder = tmp_path_factory.mktemp("methods")
    (folder / "pictures.json").write_text(json.dumps(rows))
    frames = sorted(file.name for file in photographs.iterdir())[:3]
    question = "<image>" * len(frames) + "What happens?"
    sentences = [{name: row[name] for name in SENTENCES} for row in rows]
    (folder / "sentences.json").write_text(json.dumps(sentences))
    (folder / "videos.json").write_text(json.dumps([{**row, "prompt": question, "frames": frames} for row in rows]))
    return folder


@pytest.fixture(scope="module")
def likelihoods(rows: list[Row], llava: Path, photographs: Path) -> Likelihoods:
    model = AutoModelForImageTextToText.from_pretrained(llava)
    processor = AutoProcessor.from_pretrained(llava, backend="pil")

    def of(row: Row, prompt: str, response: str) -> tuple[float, int]:
        with PIL.Image.open(photographs / str(row["img_path"])) as image:
            inputs = processor(images=[image.convert("RGB")], text=prompt, return_tensors="pt")
        answer = torch.tensor([[*processor.tokenizer(response, add_special_tokens=False)["input_ids"], 2]])
        ids = torch.cat([inputs["input_ids"], answer], dim=1)
        with torch.no_grad():
            logits = model(input_ids=ids, pixel_values=inputs["pixel_values"]).logits[0, -answer.shape[1] - 1 : -1]
        return float(logits.log_softmax(-1).gather(1, answer[0][:, None]).sum()), answer.shape[1]

    rationales = [of(row, COMPARISON, WHY)[0] for row in rows]
    chosen = [of(row, PROMPT, str(row["chosen"])) for row in rows]
    return Likelihoods(
        sum(rationales) / len(rows), sum(log_prob / num_tokens for log_prob, num_tokens in chosen) / len(rows)
    )


@pytest.mark.parametrize(
    "recipe", [pytest.param(name, marks=[pytest.mark.long] if name in LONG else []) for name in EXPECTED]
)
def test_method_runs_on_its_columns_and_begins_at_its_formula(
    recipe: str, data: Path, llava: Path, photographs: Path, likelihoods: Likelihoods, tmp_path: Path
) -> None:
    changes = [
        f"model.path={llava}",
        f"data.path={data / FILES.get(recipe, 'pictures.json')}",
        f"data.images={photographs}",
        "train.epochs=2",
        "train.batch_size=2",
        "train.micro_batch_size=1",
        "train.learning_rate=1.0e-2",
        "train.workers=0",
        "backend={backend: local, precision: fp32}",
        "data.hold_out=null",  # of two rows
        "evaluators=[]",
        "trackers=[]",
        f"output.dir={tmp_path / 'run'}",
    ]
    if recipe == "v_dpo.yaml":
        # Any other guidance leaves what the picture adds to the reference's score.
        changes.append("objective.0.guidance=1")
    first, second, *_ = records(run(load_recipe(RECIPES / recipe, changes)).run_dir)
    assert first["loss"] == pytest.approx(EXPECTED[recipe](likelihoods), abs=1e-4)
    assert math.isfinite(second["loss"])
    assert second["loss"] != first["loss"]
