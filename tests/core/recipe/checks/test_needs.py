"""What terms and corruptions need of the data is refused with the way to give it, before a row is read if possible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from support.pairs import PROMPT
from support.paths import RECIPES

from mdpo_core import Box, DataError, Example, RecipeError, component, load_recipe
from mdpo_core.data.checking import check_data
from mdpo_core.data.encoding import BatchBuilder

PICTURE = PIL.Image.new("RGB", (40, 30))
ROW = Example("1", PROMPT, {"chosen": "A flower.", "rejected": "A temple."}, (PICTURE,))


def loaded(recipe: str, *changes: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(RECIPES / recipe, changes)
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            ["objective=[{loss: odpo}]"],
            "objective.0: needs the column 'rejected_score'  (rows have: none); reader 'pairs' gives it with "
            "data.columns: [rejected_score]",
        ),
        (
            ["objective=[{loss: dpo, over: rejcted}]"],
            "objective.0: needs the response 'rejcted'; did you mean 'rejected'?  (rows have: chosen, rejected); "
            "reader 'pairs' gives it with data.responses: {..., rejcted: COLUMN}",
        ),
        (
            ["corruptions.crop={corruption: dataset_image, picture: edited}"],
            "corruptions.crop: needs the other image 'edited'  (rows have: none); reader 'pairs' gives it with "
            "data.other_images: {edited: COLUMN}",
        ),
        (
            ["corruptions.crop={corruption: dataset_prompt, prompt: second}"],
            "data.other_prompts: {second: COLUMN}",
        ),
        (
            ["corruptions.crop={corruption: region_noise, boxes: dogs}"],
            "corruptions.crop: needs the boxes 'dogs'  (rows have: none); reader 'pairs' gives it with data.boxes: {",
        ),
        (
            ["corruptions.crop={corruption: other_image, choose: most_similar, embedding: clip}"],
            "data.vectors: {clip: COLUMN}",
        ),
    ],
)
def test_missing_data_is_refused_with_the_reader_option_for_it(changes: list[str], message: str) -> None:
    assert message in loaded("llava_mdpo.yaml", *changes)


def test_another_reader_is_named_when_own_reader_has_no_option() -> None:
    found = loaded("quickstart.yaml", "objective=[{loss: odpo}]")
    assert "needs the column 'chosen_score'  (rows have: none); reader 'pairs' gives it with" in found


def test_given_columns_pass_and_unused_corruption_needs_nothing() -> None:
    changes = ["data.columns=[chosen_score, rejected_score]", "objective=[{loss: odpo}]"]
    unused = "corruptions.unused={corruption: dataset_image, picture: edited}"
    load_recipe(RECIPES / "llava_mdpo.yaml", [*changes, unused])


def problems(rows: Sequence[Example], llava: Path, corruption: str, **options: Any) -> list[str]:
    encoder = component("adapter", "llava", path=str(llava), unusual_texts="keep").encoder()  # type: ignore[attr-defined]
    corruptions = {"changed": component("corruption", corruption, **options)}
    terms = [component("loss", "dpo", over="chosen@changed")]
    builder = BatchBuilder.for_terms(terms, corruptions, encoder, 2048, seed=0)  # type: ignore[arg-type]
    checked = check_data(rows, builder, lambda done, total: None)
    with pytest.raises(DataError) as caught:
        checked.require_valid(quarantine=False)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("options", "row", "message"),
    [
        (
            {"corruption": "dataset_image", "picture": "edited"},
            ROW,
            "needs the other image 'edited'; the data has none; reader 'pairs' gives it with data.other_images: "
            "{edited: COLUMN}",
        ),
        (
            {"corruption": "dataset_image", "picture": "edited"},
            replace(ROW, other_images={"edited": ()}),
            "needs the other image 'edited', which is empty in this row",
        ),
        (
            {"corruption": "region_noise", "boxes": "dogs"},
            replace(ROW, boxes={"dogs": ((),)}),
            "needs the boxes 'dogs', which is empty in this row",
        ),
        (
            {"corruption": "other_image", "choose": "most_similar", "embedding": "clip"},
            replace(ROW, vectors={"other": (1.0,)}),
            "needs the vector 'clip'; the data has other; reader 'pairs' gives it with data.vectors: {clip: COLUMN}",
        ),
    ],
)
def test_image_row_lacking_data_is_named_before_training(
    options: dict[str, Any], row: Example, message: str, llava: Path
) -> None:
    """Each row that lacks something is named before training, unless it has no image."""
    valid = replace(
        ROW,
        id="0",
        other_images={"edited": (PICTURE,)},
        boxes={"dogs": ((Box(0, 0, 4, 4),),)},
        vectors={"clip": (0.0,)},
    )
    without = replace(row, id="2", prompt="What is it?", images=(), boxes={"dogs": ()})
    found = problems([valid, row, without], llava, **options)
    assert found == [f"row 2, example '1': the condition 'changed' {message}"]


def test_what_several_conditions_need_is_told_once(llava: Path) -> None:
    encoder = component("adapter", "llava", path=str(llava), unusual_texts="keep").encoder()  # type: ignore[attr-defined]
    masked = component("corruption", "region_mask", boxes="dogs")
    both = component("loss", "dpo", over="chosen@one"), component("loss", "dpo", over="chosen@two")
    builder = BatchBuilder.for_terms(both, {"one": masked, "two": masked}, encoder, 2048, seed=0)  # type: ignore[arg-type]
    checked = check_data([replace(ROW, boxes={"dogs": ((),)})], builder, lambda done, total: None)
    with pytest.raises(DataError) as caught:
        checked.require_valid(quarantine=False)
    told = str(caught.value)
    assert "the conditions 'one', 'two' need the boxes 'dogs', which is empty in this row" in told
    assert told.count("boxes 'dogs'") == 1
