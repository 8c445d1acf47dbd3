"""Image tokens that are dropped, so that nothing attends to them: in scoring, in generation, in every family."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import PIL.Image
import pytest
import torch
from mdpo_vlm.families import FAMILIES
from support.builders.small_vlms import build_vlm, one_family_of_each_mechanism
from support.oracles.plain_vlms import VIEWS, adapter, examples
from torch import Tensor
from transformers import AutoModelForImageTextToText

from mdpo_core import Decoding, DroppedTokens, EncodedPrompt, Example, Placement, View, component
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.interfaces.measurements import TermInputs
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring.scorer import PLAIN, Scorer

DROPPED = tuple(View(view.response, "dropped") for view in VIEWS)
NATS = 5e-5


# Of a picture that enters by cross-attention, there is no token to drop: `token_drop` is refused.
WITH_TOKENS = [
    parameter for parameter in one_family_of_each_mechanism() if not FAMILIES[str(parameter.values[0])].cross_attention
]


@pytest.fixture(scope="module", params=WITH_TOKENS)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_vlm(family, tmp_path_factory.mktemp(family))


def builder(family: str, folder: Path, share: float) -> BatchBuilder:
    drop = component("corruption", "token_drop", share=share)
    return BatchBuilder(adapter(family, folder).encoder(), (*VIEWS, *DROPPED), {"dropped": drop}, (), 10**9, 0)


def scored(family: str, folder: Path, data: list[Example], share: float, options: Scoring) -> dict[View, Tensor]:
    made = adapter(family, folder)
    builder_ = builder(family, folder, share)
    share_prefix = options.share_prefix and made.shares_prefix
    options = options.model_copy(update={"share_prefix": share_prefix})
    scorer = Scorer(made.load(Placement()), TermInputs(builder_.views), options=options)
    with torch.no_grad():
        found = scorer(builder_.build(data, range(len(data)), epoch=0)).policy
    return {view: tokens.values for view, tokens in found.items()}


def test_both_paths_hide_same_tokens_and_leave_shown_rows_alone(family: str, folder: Path, photographs: Path) -> None:
    data = examples(family, photographs)
    plain, shared, none = (
        scored(family, folder, data, share, options)
        for share, options in ((0.5, PLAIN), (0.5, Scoring()), (0.0, Scoring()))
    )
    for view in (*VIEWS, *DROPPED):
        torch.testing.assert_close(shared[view], plain[view], atol=NATS, rtol=NATS)
    for shown, dropped in zip(VIEWS, DROPPED, strict=True):
        torch.testing.assert_close(none[dropped], none[shown], atol=NATS, rtol=NATS)
        with_pictures = [row for row, example in enumerate(data) if example.images]
        assert (plain[dropped] - plain[shown])[with_pictures].abs().max() > 1e-3


def test_a_picture_whose_tokens_are_all_hidden_is_not_seen(family: str, folder: Path, photographs: Path) -> None:
    data = [example for example in examples(family, photographs) if example.images]
    black = [replace(row, images=tuple(PIL.Image.new("RGB", image.size) for image in row.images)) for row in data]
    for options in (PLAIN, Scoring()):
        one, other = (scored(family, folder, rows, 1.0, options) for rows in (data, black))
        for shown, dropped in zip(VIEWS, DROPPED, strict=True):
            torch.testing.assert_close(one[dropped], other[dropped], atol=NATS, rtol=NATS)
            assert (one[shown] - other[shown]).abs().max() > 1e-3


def test_a_model_goes_on_from_hidden_tokens_as_it_scores_them(family: str, folder: Path, photographs: Path) -> None:
    made, build = adapter(family, folder), builder(family, folder, 0.5)
    model, encoder = made.load(Placement()), made.encoder()
    data = [example for example in examples(family, photographs) if example.images]
    prompts = [build.encode_prompt(build.corrupt(example, "dropped", data, 0)) for example in data]
    assert any(prompt.dropped is not None for prompt in prompts)
    answers = model.generate(prompts, Decoding(3))
    for prompt, answer in zip(prompts, answers, strict=True):
        for place, token in enumerate(answer.tolist()):
            best, value = most_likely(model, prompt, answer[:place])
            assert token == best or value[token] >= value[best] - NATS
    assert any(len(answer) for answer in answers)
    assert encoder.image_token not in {token for answer in answers for token in answer.tolist()}


def most_likely(model, prompt: EncodedPrompt, said: Tensor) -> tuple[int, Tensor]:  # type: ignore[no-untyped-def]
    """The next token by a forward of its own, and all log-probs."""
    from mdpo_core.types.layout import pad_view

    rows = pad_view([prompt.token_ids], [torch.cat([said, said.new_zeros(1)])], [prompt.dropped])
    with torch.no_grad():
        hidden = model.hidden_states(rows, model.encode_images(prompt.images))
        log_probs = model.logits(hidden[0, len(prompt.token_ids) + len(said) - 1]).log_softmax(-1)
    return int(log_probs.argmax()), log_probs


def test_hidden_is_what_a_mask_of_plain_transformers_hides(llava: Path, photographs: Path) -> None:
    with PIL.Image.open(sorted(photographs.iterdir())[0]) as image:
        row = Example(
            "1", "USER: <image>\nWhat is it? ASSISTANT:", {}, (image.convert("RGB"),), dropped=DroppedTokens(0.5, 3)
        )
    made = component("adapter", "llava", path=str(llava))
    build = BatchBuilder(made.encoder(), (), {}, (), 10**9, 0)
    prompt, answer = build.encode_prompt(row), torch.tensor([7, 8, 9, 2])
    assert prompt.dropped is not None
    assert 0 < int(prompt.dropped.sum()) < int((prompt.token_ids == build.encoder.image_token).sum())
    ids = torch.cat([prompt.token_ids, answer])
    sees = torch.ones(len(ids), len(ids), dtype=torch.bool).tril()
    sees[:, : len(prompt.dropped)] &= ~prompt.dropped
    mask = torch.zeros(1, 1, *sees.shape).masked_fill(~sees, torch.finfo(torch.float32).min)
    plain = AutoModelForImageTextToText.from_pretrained(llava)
    with torch.no_grad():
        logits = plain(
            input_ids=ids[None],
            attention_mask=mask,
            position_ids=torch.arange(len(ids))[None],
            pixel_values=prompt.images[0]["pixel_values"],
        ).logits[0]
    expected = logits[len(prompt.token_ids) - 1 : -1].log_softmax(-1).gather(1, answer[:, None])[:, 0]
    from mdpo_core.scoring.attention import sdpa_attention
    from mdpo_core.types.batch import Item
    from mdpo_core.types.packing import pack

    model = made.load(Placement())
    packing = pack([Item(prompt.token_ids, (0,), answer, answer, prompt.dropped)], sdpa_attention)
    with torch.no_grad():
        hidden = model.packed_hidden_states(packing.packed, model.encode_images(prompt.images))
        found = model.logits(hidden[0, len(prompt.token_ids) - 1 : -1]).log_softmax(-1).gather(1, answer[:, None])
    torch.testing.assert_close(found[:, 0], expected, atol=NATS, rtol=0)
