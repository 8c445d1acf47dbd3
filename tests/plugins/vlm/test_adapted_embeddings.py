"""Adapters of peft with LoRA on the embeddings or the head, and adapters whose file also contains these weights."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from support.builders.continued import LORA, tuned_by_peft
from support.builders.small_vlms import build_vlm
from support.oracles.plain_vlms import NATS, VIEWS, adapter, examples, plain_log_probs
from transformers import AutoModelForImageTextToText, PreTrainedModel

from mdpo_core import DataError, ModelAdapter, Placement, RecipeError
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.interfaces.measurements import TermInputs
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring.scorer import Scorer
from mdpo_core.testing import check_adapter

BOTH = ["q_proj", "embed_tokens", "lm_head"]
# peft tells of the copies that it writes, and that tied weights cannot be merged.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`"),
    pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`"),
]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDPO_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module", params=["llava", "paligemma"])
def family(request: pytest.FixtureRequest) -> str:
    """LLaVA has a head of its own, PaliGemma's head is its embedding."""
    return str(request.param)


@pytest.fixture(scope="module")
def base(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_vlm(family, tmp_path_factory.mktemp("base") / "model")


def made(family: str, path: Path, **options: Any) -> ModelAdapter:
    found = adapter(family, path, **options)
    assert isinstance(found, ModelAdapter)
    return found


def require_merged_as_peft_computes(family: str, base: Path, tuned: Path, photographs: Path) -> None:
    """The log-probs of the merged model are those of plain peft beside its model; plain transformers loads it."""
    merged = made(family, tuned)
    merged.check()
    model, rows = merged.load(Placement(), trainable=False), examples(family, photographs)
    batch = BatchBuilder(merged.encoder(), VIEWS, {}, (), 10**9, 0).build(rows, range(len(rows)), epoch=0)
    scored = Scorer(model, TermInputs(VIEWS), options=Scoring(share_prefix=merged.shares_prefix))(batch).policy
    plain = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(base), tuned).eval()
    for view in VIEWS:
        for row, example in enumerate(rows):
            own = scored[view].values[row][scored[view].mask[row]]
            alone = plain_log_probs(plain, family, base, example, view)
            torch.testing.assert_close(own, alone, atol=NATS, rtol=NATS)
    again = AutoModelForImageTextToText.from_pretrained(next(file.parent for file in merged.files())).state_dict()
    for name, value in model.module.state_dict().items():
        torch.testing.assert_close(again[name], value, atol=0, rtol=0)


@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": BOTH},
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"target_modules": r".*(language_model.*q_proj|lm_head)"},
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    ],
    ids=["both", "embeddings", "head", "whole-head"],
)
@pytest.mark.parametrize("copies", [True, False])
def test_an_adapter_of_embeddings_is_merged_as_peft_computes(
    options: dict[str, Any], copies: Any, family: str, base: Path, photographs: Path, tmp_path: Path
) -> None:
    tuned = tuned_by_peft(base, tmp_path / "sft", save={"save_embedding_layers": copies}, r=4, **options)
    require_merged_as_peft_computes(family, base, tuned, photographs)


def resized(base: Path, folder: Path) -> Path:
    """An adapter as peft saves it after tokens were added: whole embeddings are beside it."""
    model: PreTrainedModel = AutoModelForImageTextToText.from_pretrained(base)
    model.resize_token_embeddings(model.get_input_embeddings().num_embeddings + 8)
    get_peft_model(model, LoraConfig(target_modules=["q_proj"])).save_pretrained(folder, save_embedding_layers=True)
    return folder


def test_an_adapter_of_a_larger_vocabulary_is_a_sentence(family: str, base: Path, tmp_path: Path) -> None:
    told = (
        r"sft: its embeddings have (\d+) tokens, but those of its model have (\d+): .*; resize the model's .*model.base"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tuned = resized(base, tmp_path / "sft")
    with pytest.raises(DataError, match=told):
        made(family, tuned).check()


def with_other_embeddings(tuned: Path) -> Path:
    """The adapter with a copy of the embeddings that are not those of its model."""
    file = tuned / "adapter_model.safetensors"
    tensors = load_file(file)
    [name] = (name for name in tensors if name.endswith("embed_tokens.base_layer.weight"))
    save_file({**tensors, name: tensors[name] + 0.5}, file, metadata={"format": "pt"})
    return tuned


def test_embeddings_that_are_not_those_of_the_model_are_taken_from_the_adapter(
    family: str, base: Path, photographs: Path, tmp_path: Path
) -> None:
    tuned = with_other_embeddings(tuned_by_peft(base, tmp_path / "sft", r=4, target_modules=["q_proj", "embed_tokens"]))
    require_merged_as_peft_computes(family, base, tuned, photographs)


ALL_THREE = LORA | {"targets": ["language_model*q_proj", "embed_tokens", "lm_head"]}
PATTERN = r".*(language_model.*q_proj|embed_tokens|lm_head)"


def test_an_adapter_of_embeddings_is_trained_on(tmp_path: Path, photographs: Path) -> None:
    base = build_vlm("llava", tmp_path / "base")
    tuned = tuned_by_peft(base, tmp_path / "sft", r=4, lora_alpha=16, target_modules=PATTERN)
    continued = made("llava", tuned, continue_lora=True, lora=ALL_THREE)
    continued.check()
    check_adapter(continued, examples("llava", photographs)[:2])


def test_other_embeddings_in_an_adapter_that_is_trained_on_are_a_sentence(tmp_path: Path) -> None:
    base = build_vlm("llava", tmp_path / "base")
    tuned = tuned_by_peft(base, tmp_path / "sft", r=4, lora_alpha=16, target_modules=PATTERN)
    told = r"embed_tokens.base_layer.weight is not that of its model.*continue_lora: false"
    with pytest.raises(DataError, match=told):
        made("llava", with_other_embeddings(tuned), continue_lora=True, lora=ALL_THREE).check()


def test_tied_embeddings_cannot_be_trained_on(tmp_path: Path) -> None:
    base = build_vlm("paligemma", tmp_path / "base")
    tuned = tuned_by_peft(base, tmp_path / "sft", r=4, lora_alpha=16, target_modules=PATTERN)
    with pytest.raises(RecipeError, match=r"embed_tokens, whose weights are also lm_head"):
        made("paligemma", tuned, continue_lora=True, lora=ALL_THREE).check()
