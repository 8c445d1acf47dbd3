"""What a scorer computes, and how often: each image once, no image for a reference that sees the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from mdpo_vlm.forward.model import VlmModel
from support.builders.tiny_batches import BLANK, VIEWS, Drawn, build_batch, drawn_rows, some_views
from support.builders.tiny_models import Tiny, build
from support.effort import num_examples

from mdpo_core import EncodedImage, ImageInputs, View
from mdpo_core.interfaces.measurements import TermInputs
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring.attention import sdpa_attention
from mdpo_core.scoring.hidden_states import packed_states, padded_states
from mdpo_core.scoring.scorer import Scorer, encode_images
from mdpo_core.types.packing import joined

ENCODE = VlmModel.encode_images


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[VlmModel, int]]:
    """Models that encoded images, and how many at a time."""
    found: list[tuple[VlmModel, int]] = []

    def count(self: VlmModel, images: Sequence[ImageInputs]) -> Sequence[EncodedImage]:
        found.append((self, len(images)))
        return ENCODE(self, images)

    monkeypatch.setattr(VlmModel, "encode_images", count)
    return found


def pictures_of(rows: list[Drawn], views: list[View]) -> set[int]:
    moved = {"clean": 0, "crop": 100}
    return {
        BLANK if view.condition == "blank" else number + moved[view.condition]
        for view in views
        for row in rows
        for number in row.pictures
        if view.condition != "no_image"
    }


@pytest.mark.parametrize("share_prefix", [True, False])
@pytest.mark.parametrize(("trains", "by_the_reference"), [("lora", False), ("language", False), ("all", True)])
def test_every_distinct_image_is_encoded_once(
    trains: Any, by_the_reference: bool, share_prefix: bool, encoded: list[tuple[VlmModel, int]]
) -> None:
    """A reference sees the policy's features where neither vision nor projector train."""
    loaded = build(Tiny("llama", trains, side=1))

    @settings(max_examples=num_examples(4, 10), deadline=None)
    @given(rows=drawn_rows, views=some_views)
    def check(rows: list[Drawn], views: list[View]) -> None:
        encoded.clear()
        scorer = Scorer(loaded.model, TermInputs(tuple(views)), loaded.reference, Scoring(share_prefix=share_prefix))
        scorer(build_batch(rows, views, Tiny(side=1)))
        number = len(pictures_of(rows, views))
        models = [loaded.model, loaded.frozen] if by_the_reference else [loaded.model]
        assert encoded == [(model, number) for model in models if number]

    check()


@settings(max_examples=num_examples(10, 30), deadline=None)
@given(rows=drawn_rows, views=some_views)
def test_both_ways_predict_the_same_tokens_of_every_response(rows: list[Drawn], views: list[View]) -> None:
    tiny = Tiny(side=1)
    model = build(tiny).model
    batch = build_batch(rows, views, tiny)
    with torch.no_grad():
        images = model.encode_images(batch.images) if batch.images else ()
        shared = packed_states(model, batch, views, images, sdpa_attention)
        separate = padded_states(model, batch, views, images)
    by_prompt: dict[object, set[tuple[int, ...]]] = {}
    for item in (item for view in views for item in batch.items[view]):
        prompt = tuple(item.prompt.tolist()), item.image_indices
        by_prompt.setdefault(prompt, set()).add(tuple(item.response.tolist()))
    assert len(shared.hidden) == sum(map(num_predicted, by_prompt.values()))
    for found in (shared, separate):
        assert len(found.hidden) == len(found.token_ids)
        for view in views:
            for row, parts in enumerate(found.spans[view]):
                assert joined(found.token_ids, parts).equal(batch.items[view][row].response)


def num_predicted(responses: set[tuple[int, ...]]) -> int:
    """The tokens of different responses to a prompt; what all begin with counts once, but never a whole response."""
    begins = [{response[:number] for response in responses} for number in range(min(map(len, responses)))]
    again = max(number for number, found in enumerate(begins) if len(found) == 1)
    return sum(map(len, responses)) - again * (len(responses) - 1)


def test_values_of_views_are_padded_with_0_outside_of_their_mask() -> None:
    tiny = Tiny(side=1)
    model, rows = build(tiny).model, [Drawn((0,), [4], [5, 6, 7], []), Drawn((), [4], [], [5])]
    batch = build_batch(rows, VIEWS[:1], tiny)
    with torch.no_grad():
        found = packed_states(model, batch, VIEWS[:1], model.encode_images(batch.images), sdpa_attention)
    values, mask = found.by_view(torch.ones(len(found.token_ids)))[VIEWS[0]]
    assert mask.tolist() == [[True] * 4, [True, False, False, False]]
    assert values.tolist() == mask.float().tolist()


def test_last_layer_mlp_runs_only_where_response_is_predicted() -> None:
    kind = Tiny("llama", "lora")
    batch = build_batch([Drawn((0,), [5, 6], [7, 8, 9], [5])], VIEWS[:1] + VIEWS[4:5], kind)
    model = build(kind).model
    seen: list[int] = []
    hooks = [
        layer.mlp.down_proj.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[1]))  # type: ignore[operator,union-attr]
        for layer in model.layers()
    ]
    packed_states(model, batch, VIEWS[:1] + VIEWS[4:5], encode_images(model, batch), sdpa_attention)
    for hook in hooks:
        hook.remove()
    prompt, chosen, rejected = len(batch.items[VIEWS[0]][0].prompt), 4, 2
    assert seen == [prompt + chosen + rejected, 1 + (chosen - 1) + (rejected - 1)]


@pytest.mark.parametrize(
    ("chosen", "rejected", "tokens", "read"),
    [
        # Each has an end token, which predicts nothing; before it, there is what predicts the first token.
        ([7, 8, 9, 4], [7, 8, 9, 5], 3 + 2 + 2, 1 + 3 + 1 + 1),
        ([7, 8, 9, 4], [4, 8, 9, 5], 5 + 5, 1 + 4 + 4),
        ([7, 8, 9, 4], [7, 8], 2 + 3 + 1, 1 + 2 + 2 + 0),
        ([7, 8, 9, 4], [7, 8, 9, 4], 5, 1 + 4),
    ],
    ids=["edited", "different", "cut", "equal"],
)
def test_a_common_beginning_is_computed_once_in_every_layer_and_in_the_head(
    chosen: list[int], rejected: list[int], tokens: int, read: int
) -> None:
    kind, views = Tiny("llama", "lora"), (View("chosen"), View("rejected"))
    batch = build_batch([Drawn((0,), [5, 6], chosen, rejected)], views, kind)
    model = build(kind).model
    seen: list[int] = []
    modules = [layer.mlp.down_proj for layer in model.layers()]
    hooks = [
        module.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[1]))  # type: ignore[operator,union-attr]
        for module in modules
    ]
    with torch.no_grad():
        states = packed_states(model, batch, views, encode_images(model, batch), sdpa_attention)
    for hook in hooks:
        hook.remove()
    assert seen == [len(batch.items[views[0]][0].prompt) + tokens, read]
    # What the head reads: each token in common once, and the first that differs for each response.
    assert len(states.hidden) == tokens
