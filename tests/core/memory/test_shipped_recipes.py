"""What shipped recipes say of their models and cards, by the estimate of `mdpo check --memory`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.builders.long_answers import batch_of
from support.builders.published_sizes import PUBLISHED, write_folder
from support.paths import RECIPES, ROOT
from transformers import AutoConfig, AutoModelForImageTextToText

from mdpo_core import load_recipe
from mdpo_core.memory.cards import needed_card
from mdpo_core.memory.estimate import Estimator

SPARE = 0.9
TOKENS = 600  # of the longer answer, with room to spare
LONG = 300  # of the longer answer of a pair whose memory a recipe states
# The model that each recipe names.
MODELS = {
    "llava_mdpo": "LLaVA-1.5 7B",
    "models/llava_next_mdpo": "LLaVA-NeXT 7B",
    "models/qwen2_5_vl_7b_mdpo": "Qwen2.5-VL 7B",
    "models/qwen3_vl_mdpo": "Qwen3-VL 8B",
    "models/qwen3_5_mdpo": "Qwen3.5 9B",
    "models/internvl_mdpo": "InternVL3 8B",
    "models/gemma3_mdpo": "Gemma 3 12B",
    "models/gemma4_mdpo": "Gemma 4 E4B",
    "models/smolvlm_mdpo": "SmolVLM2 2.2B",
    "models/mistral3_mdpo": "Mistral Small 3.1 24B",
}
# Numbers in the published files, as the hub counts them; those of LLaVA-NeXT and InternVL3 were not found.
IN_FILES = {
    "LLaVA-1.5 7B": 7_063_427_072,
    "Qwen2.5-VL 7B": 8_292_166_656,
    "Qwen3-VL 8B": 8_767_123_696,
    "Qwen3.5 9B": 9_653_104_368,
    "Gemma 3 12B": 12_187_325_040,
    "Gemma 4 E4B": 7_996_156_490,
    "SmolVLM2 2.2B": 2_246_784_880,
    "Mistral Small 3.1 24B": 24_011_361_280,
}
# Those of them that are no parameters in transformers: of a layer that predicts one more token (MTP); and keys and
# values of 15 and 3 layers that take them from others, with their norms, and a factor for each layer.
NO_PARAMETERS = {
    "Qwen3.5 9B": 243_290_624,
    "Gemma 4 E4B": 2 * 2560 * 2 * (15 * 256 + 3 * 512) + (15 * 256 + 3 * 512) + 42,
}
NIGHTLY = pytest.mark.nightly(reason="takes up to a minute for each recipe; others are tried more often")
# The number of cards, if it is not one.
OTHERS = {"llava_mdpo_qlora": "LLaVA-1.5 7B", "llava_mdpo_zero3": "LLaVA-1.5 7B", "qwen2_5_vl_mdpo": "Qwen2.5-VL 3B"}
CARDS = {"llava_mdpo_zero3": 8}
GUIDE, FITS = (ROOT / "docs" / name for name in ("guides/models.md", "fits-my-card.md"))
MEMORY = re.compile(r"([0-9.]+) GB for one pair of long answers, ([0-9.]+) GB with scoring.activation_checkpointing")
PARAMETERS = re.compile(r"has ([0-9.]+) billion parameters")
CARD = re.compile(r"GPUs? (?:of|with) ([0-9]+) GB")


def first_lines(name: str) -> str:
    """The comment at the top of a recipe, in one line."""
    lines = (RECIPES / f"{name}.yaml").read_text().splitlines()
    return " ".join(line.removeprefix("# ") for line in lines if line.startswith("#"))


def stated(pattern: re.Pattern[str], name: str) -> tuple[str, ...]:
    found = pattern.search(first_lines(name))
    assert found, f"{name} does not say it"
    return found.groups()


def cases(names: Iterable[str], often: Callable[[str], bool]) -> list[Any]:
    """The recipes, ``often`` in the long tests; the others nightly."""
    return [pytest.param(name, marks=pytest.mark.long if often(name) else NIGHTLY) for name in names]


def parameters_of(model: str, folder: Path) -> int:
    config = AutoConfig.from_pretrained(write_folder(PUBLISHED[model], folder))
    with torch.device("meta"):
        made = AutoModelForImageTextToText.from_config(config)
    return sum(weight.numel() for weight in made.parameters())


@pytest.mark.long
@pytest.mark.parametrize("model", IN_FILES)
def test_sizes_give_as_many_parameters_as_the_published_files_have(model: str, tmp_path: Path) -> None:
    assert parameters_of(model, tmp_path / "model") + NO_PARAMETERS.get(model, 0) == IN_FILES[model]


@pytest.mark.long
@pytest.mark.parametrize("name", MODELS)
def test_recipe_states_the_parameters_of_its_model(name: str, tmp_path: Path) -> None:
    number = parameters_of(MODELS[name], tmp_path / "model")
    assert stated(PARAMETERS, name) == (f"{number / 1e9:.1f}",)


@pytest.mark.parametrize("name", cases(MODELS, lambda name: "llava_next" in name))
def test_recipe_states_what_the_estimate_gives(name: str, tmp_path: Path) -> None:
    folder = write_folder(PUBLISHED[MODELS[name]], tmp_path / "model")
    found = []
    for recomputed in ("off", "full"):
        changes = ["train.micro_batch_size=1", f"scoring.activation_checkpointing={recomputed}"]
        recipe = load_recipe(RECIPES / f"{name}.yaml", [f"model.path={folder}", *changes])
        peak = Estimator(recipe).estimate(batch_of(recipe, 1, LONG), recipe.train, 1).peak
        found.append(f"{peak / 1e9:.1f}")
    assert list(stated(MEMORY, name)) == found


@pytest.mark.parametrize("name", MODELS)
def test_pages_state_what_the_recipe_states(name: str) -> None:
    memory = " / ".join(stated(MEMORY, name))
    [row] = [line for line in GUIDE.read_text().splitlines() if line.startswith(f"| `{name}` |")]
    assert row.endswith(f"| {memory} |")
    assert f"| {MODELS[name]} | LoRA | local | {memory} |" in FITS.read_text()


@pytest.mark.parametrize("name", cases({**MODELS, **OTHERS}, lambda name: not name.startswith("models/")))
def test_recipe_fits_the_card_that_it_names(name: str, tmp_path: Path) -> None:
    """With a tenth of it to spare."""
    folder, processes = write_folder(PUBLISHED[{**MODELS, **OTHERS}[name]], tmp_path / "model"), CARDS.get(name, 1)
    recipe = load_recipe(RECIPES / f"{name}.yaml", [f"model.path={folder}"], processes)
    batch = batch_of(recipe, recipe.train.micro_batch_size, TOKENS)
    assert max(len(item.response) for items in batch.items.values() for item in items) >= TOKENS - 1
    found = Estimator(recipe).estimate(batch, recipe.train, processes)
    assert needed_card(found.peak) <= SPARE * int(stated(CARD, name)[0]) * 1e9


def test_every_recipe_of_a_model_is_checked_here() -> None:
    assert {f"models/{file.stem}" for file in (RECIPES / "models").iterdir()} == {*MODELS} - {"llava_mdpo"}
