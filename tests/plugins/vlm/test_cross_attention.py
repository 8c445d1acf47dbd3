"""Llama 3.2 Vision: pictures enter by cross-attention, and each row of a batch gets what it has alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import PIL.Image
import PIL.ImageOps
import pytest
import torch
from mdpo_vlm import TransformersAdapter
from mdpo_vlm.families import Family
from support.builders.small_vlms import NIGHTLY, build_vlm
from support.oracles.plain_vlms import NATS, VIEWS, adapter, examples, gap, plain_inputs, plain_log_probs
from transformers import AutoModelForImageTextToText

from mdpo_core import DataError, Decoding, Example, Placement
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.interfaces.measurements import TermInputs
from mdpo_core.scoring.scorer import PLAIN, Scorer
from mdpo_core.testing import check_adapter
from mdpo_core.types.example import DroppedTokens


class Shared(TransformersAdapter):
    """Claims that a prompt can be shared."""

    prompts: Any = "chat"

    def family(self) -> Family:
        return replace(super().family(), separate="")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_vlm("mllama", tmp_path_factory.mktemp("mllama"))


def test_every_order_and_number_of_pictures_gives_what_a_row_has_alone(folder: Path, photographs: Path) -> None:
    """Rows without a picture, with one and with two, together: also corrupted pictures, and none at all."""
    data = examples("mllama", photographs)
    inverted = [replace(each, images=tuple(map(PIL.ImageOps.invert, each.images))) for each in data]
    without = [each for each in data if not each.images]
    for rows in (data, data[::-1], inverted, [*data[:1], *without], without):
        assert gap("mllama", folder, rows, PLAIN) <= NATS


def test_a_picture_matters_to_the_response(folder: Path, photographs: Path) -> None:
    """The comparison above has teeth: gates of cross-attention are open."""
    [one, *_] = examples("mllama", photographs)
    other = replace(one, images=tuple(map(PIL.ImageOps.invert, one.images)))
    plain = AutoModelForImageTextToText.from_pretrained(folder).eval()
    with torch.no_grad():
        first, second = (plain_log_probs(plain, "mllama", folder, each, VIEWS[0]) for each in (one, other))
    assert float((first - second).abs().max()) > 100 * NATS


def test_rows_without_pictures_would_change_in_a_batch_of_transformers(
    folder: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why `keep_rows_apart` is there: without it, the row without a picture attends to nothing in particular."""
    monkeypatch.setattr("mdpo_vlm.loading.load.keep_rows_apart", lambda base: None)
    assert gap("mllama", folder, examples("mllama", photographs), PLAIN) > 100 * NATS


@pytest.mark.parametrize("is_exported", [False, True], ids=["trained", "exported"])
def test_answers_do_not_depend_on_the_pictures_of_other_rows(
    is_exported: bool, folder: Path, photographs: Path
) -> None:
    made, data = adapter("mllama", folder), examples("mllama", photographs)
    model = made.load_exported(folder, Placement())[1] if is_exported else made.load(Placement())
    plain = AutoModelForImageTextToText.from_pretrained(folder).eval()
    answers = model.generate([made.encoder().encode_prompt(each) for each in data], Decoding(20))
    for example, answer in zip(data, answers, strict=True):
        inputs, length = plain_inputs("mllama", folder, example, None)
        ids = plain.generate(**inputs, max_new_tokens=20, do_sample=False)[0, length:].tolist()
        assert answer.tolist() == ids[: len(answer)]


def test_layers_that_read_pictures_get_gradients_in_rows_without(folder: Path, photographs: Path) -> None:
    """Gradients of 0, not none: processes that exchange them would wait."""
    data = [each for each in examples("mllama", photographs) if not each.images]
    made = adapter("mllama", folder, freeze=("vision", "projector"))
    batch = BatchBuilder(made.encoder(), VIEWS, {}, (), 10**9, 0).build(data, range(len(data)), epoch=0)
    model = made.load(Placement())
    Scorer(model, TermInputs(tuple(VIEWS)), options=PLAIN)(batch).policy[VIEWS[0]].values.sum().backward()
    crossing = {name: value.grad for name, value in model.module.named_parameters() if "cross_attn" in name}
    assert crossing
    for name, grad in crossing.items():
        assert grad is not None, name
        assert not grad.any(), name


def test_dropping_image_tokens_is_refused_with_a_reason(folder: Path) -> None:
    example = Example("7", "<image>\nWhat?", {}, (PIL.Image.new("RGB", (30, 30)),), dropped=DroppedTokens(0.5, 1))
    with pytest.raises(DataError, match=r"'7'.*image tokens cannot be dropped, for a picture has only one.*choose"):
        adapter("mllama", folder).encoder().encode_prompt(example)


@NIGHTLY
def test_a_claim_that_prompts_can_be_shared_fails_the_contract(folder: Path, photographs: Path) -> None:
    claimed = Shared(path=str(folder), lora={"rank": 2, "alpha": 4})  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match=r"Shared raised RuntimeError: .* when its model is scored"):
        check_adapter(claimed, examples("mllama", photographs))
