"""Rows side by side: every distinct image once, and a digest for everything that a model sees of a view."""

from __future__ import annotations

from dataclasses import replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.builders.tiny_batches import VIEWS, Drawn, drawn_rows, encode_row, some_views
from support.builders.tiny_models import Tiny
from support.effort import num_examples

from mdpo_core import EncodedPrompt, View
from mdpo_core.data.collation import collate
from mdpo_core.types.batch import EncodedRow

TINY = Tiny(side=1)
CONDITIONS = ("clean", "crop", "blank", "no_image")


def encoded(rows: list[Drawn]) -> list[EncodedRow]:
    return [encode_row(number, row, CONDITIONS, TINY) for number, row in enumerate(rows)]


def seen(row: EncodedRow, view: View) -> tuple[object, ...]:
    """What a model sees of a view, as values that can be compared."""
    prompt = row.prompts[view.condition]
    pixels = [(image["pixel_values"].shape, image["pixel_values"].flatten().tolist()) for image in prompt.images]
    return prompt.token_ids.tolist(), row.responses[view.response].tolist(), pixels


@settings(max_examples=num_examples(25, 60), deadline=None)
@given(rows=drawn_rows, views=some_views)
def test_digests_are_equal_exactly_where_a_model_sees_the_same(rows: list[Drawn], views: list[View]) -> None:
    found = encoded(rows)
    batch = collate(found, views)
    places = [(row, view) for row in range(len(rows)) for view in views]
    for row, view in places:
        for other, another in places:
            alike = seen(found[row], view) == seen(found[other], another)
            assert (batch.digests[view][row] == batch.digests[another][other]) == alike


@settings(max_examples=num_examples(25, 60), deadline=None)
@given(row=drawn_rows.map(lambda rows: rows[0]), view=st.sampled_from(VIEWS), data=st.data())
def test_one_other_token_or_pixel_is_another_digest(row: Drawn, view: View, data: st.DataObject) -> None:
    (before,) = encoded([row])
    prompt, response = before.prompts[view.condition], before.responses[view.response]
    images = {f"image {number}": image["pixel_values"] for number, image in enumerate(prompt.images)}
    parts = {"prompt": prompt.token_ids, "response": response, **images}
    which = data.draw(st.sampled_from(sorted(parts)))
    changed = parts[which].clone()
    place = data.draw(st.integers(0, changed.numel() - 1))
    # The least that can be told apart: the next token, the next number in float32.
    flat = changed.view(-1)
    flat[place] = flat[place] + 1 if which in ("prompt", "response") else flat[place].nextafter(torch.tensor(9.0))
    parts[which] = changed
    inputs = tuple({"pixel_values": parts[name]} for name in images)
    after = replace(
        before,
        prompts={**before.prompts, view.condition: EncodedPrompt(parts["prompt"], inputs)},
        responses={**before.responses, view.response: parts["response"]},
    )
    again = replace(before, id="another", columns={"score": 1.0})
    assert after.digest(view) != before.digest(view) == again.digest(view)


def test_digest_depends_on_prompt_end_and_image_order() -> None:
    view, first, second = VIEWS[0], torch.zeros(1, 3, 2, 2), torch.ones(1, 3, 2, 2)

    def digest(prompt: list[int], response: list[int], *images: dict[str, torch.Tensor]) -> bytes:
        encoded = EncodedPrompt(torch.tensor(prompt), images)
        return EncodedRow("", {"clean": encoded}, {"chosen": torch.tensor(response)}, {}, True).digest(view)

    digests = [
        digest([1, 2], [3]),
        digest([1], [2, 3]),
        digest([1, 2], [3], {"pixels": first}),
        digest([1, 2], [3], {"pixels": first.view(1, 3, 4, 1)}),
        digest([1, 2], [3], {"pixels": first.to(torch.bfloat16)}),
        digest([1, 2], [3], {"values": first}),
        digest([1, 2], [3], {"pixels": first}, {"pixels": second}),
        digest([1, 2], [3], {"pixels": second}, {"pixels": first}),
        digest([1, 2], [3], {"pixels": first, "mask": second}),
    ]
    assert len(set(digests)) == len(digests)
    assert digest([1, 2], [3], {"mask": second, "pixels": first}) == digests[-1]


@settings(max_examples=num_examples(25, 60), deadline=None)
@given(rows=drawn_rows, views=some_views)
def test_batch_holds_distinct_images_once_and_prompts_find_them(rows: list[Drawn], views: list[View]) -> None:
    """Every distinct image is in the batch once, and each prompt finds its own."""
    found = encoded(rows)
    batch = collate(found, views)
    pixels = [image["pixel_values"] for image in batch.images]
    assert len({values.numpy().tobytes() for values in pixels}) == len(pixels)
    used = set()
    for condition in CONDITIONS:
        for row, kept, indices in zip(found, batch.rows, batch.image_indices, strict=True):
            images = row.prompts[condition].images
            for index, image in zip(indices[condition], images, strict=True):
                assert pixels[index].equal(image["pixel_values"])
            assert [id(image) for image in kept.prompts[condition].images] == [
                id(batch.images[index]) for index in indices[condition]
            ]
            used |= set(indices[condition])
    assert used == set(range(len(pixels)))
    assert batch.corruptible.tolist() == [bool(row.pictures) for row in rows]
