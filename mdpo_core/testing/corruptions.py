"""The contract of corruptions."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from mdpo_core.data.validity import problems_of_row
from mdpo_core.interfaces.corruption import Corruption, ImageCorruption, SelectiveCorruption
from mdpo_core.testing.sentences import (
    PROPERTY,
    all_contents,
    calling,
    check_options,
    contents,
    global_randomness,
    name_of,
    require,
    require_fields,
    require_returned,
)
from mdpo_core.testing.strategies import images, noise, with_others
from mdpo_core.types.example import IMAGE_MARK, Example

if TYPE_CHECKING:
    from PIL.Image import Image

_TRIES = 20
_SIZES = ((1, 1), (1, 3000), (3000, 1), (31, 23), (400, 300))
PILLOW_MODES = (
    *("1", "L", "LA", "La", "P", "PA", "RGB", "RGBX", "RGBA", "RGBa", "CMYK", "YCbCr", "LAB", "HSV"),
    *("I", "F", "I;16", "I;16L", "I;16B", "I;16N"),
)


def check_corruption(corruption: Corruption, *, varies: bool | None = True, modes: Sequence[str] = ()) -> None:
    """Try out a corruption; ``varies``: other seeds give other results, most often; None: they may or may not.

    Rows have, besides their images, pictures and a prompt named ``other``, a vector ``embedding`` and boxes
    ``regions``: a corruption that takes such is to be made with these names.

    Readers give RGB alone. ``modes`` are those of Pillow's that an `ImageCorruption` keeps besides: `PILLOW_MODES` are
    all of them.
    """
    check_options(corruption, Corruption)
    _check_randomness(corruption)
    for num_images in (1, 2):
        _check_any_row(corruption, num_images)
    _check_effect(corruption, varies)
    if isinstance(corruption, SelectiveCorruption):
        _check_selection(corruption)
    if isinstance(corruption, ImageCorruption):
        for mode in ("RGB", *modes):
            _check_mode(corruption, mode)


def _applied(corruption: Corruption, example: Example, seed: int, data: Sequence[Example]) -> Example:
    where = f"for {_shown(example)} and the seed {seed}"
    with calling(corruption, where):
        corrupted = corruption.apply(example, random.Random(seed), data)
    require_returned(corruption, where, corrupted, Example, "an Example")
    require_fields(f"{name_of(corruption)} returns a wrong Example {where}", corrupted)
    return corrupted


def _check_randomness(corruption: Corruption) -> None:
    """On fixed rows: of a property that does not always fail, hypothesis reports that, and not what failed."""
    data = _others(1)
    for seed in range(_TRIES):
        generators = global_randomness()
        first, second = (contents(_applied(corruption, data[0], seed, data)) for _ in range(2))
        require(
            global_randomness() == generators,
            f"{name_of(corruption)} uses a random generator of the process; all randomness comes from rng",
        )
        require(first == second, f"{name_of(corruption)} gives two results for one seed ({seed}) and {_shown(data[0])}")


def _check_any_row(corruption: Corruption, num_images: int) -> None:
    @PROPERTY
    @given(st.lists(images(), min_size=num_images, max_size=num_images), st.integers(0, 1000))
    def pure_and_sound(pictures: list[Image], seed: int) -> None:
        example = _row("example", pictures)
        data = [example, *_others(num_images)]
        before = all_contents(data)
        corrupted = _applied(corruption, example, seed, data)
        require(all_contents(data) == before, f"{name_of(corruption)} changes what it is given: {_shown(example)}")
        _require_sound(corruption, example, corrupted)

    pure_and_sound()


def _require_sound(corruption: Corruption, example: Example, corrupted: Example) -> None:
    """The corrupted row is that row under another image, and fit for a model."""
    name, shown = name_of(corruption), _shown(example)
    for field in ("id", "responses", "columns", "other_images", "other_prompts", "vectors", "boxes"):
        require(getattr(corrupted, field) == getattr(example, field), f"{name} changes the {field} of {shown}")
    problems = problems_of_row(replace(corrupted, boxes={}))  # which are those of the images as they were
    require(not problems, f"{name} makes an unfit row of {shown}: {'; '.join(problems)}")
    modes = [image.mode for image in corrupted.images]
    require(set(modes) <= {"RGB"}, f"{name} gives images of modes {modes}; RGB is what models take")
    if isinstance(corruption, ImageCorruption):
        sizes, wanted = [[image.size for image in each.images] for each in (corrupted, example)]
        require(sizes == wanted, f"{name} gives images of {sizes} for images of {wanted}")


def _check_effect(corruption: Corruption, varies: bool | None) -> None:
    example, *others = _others(1)
    results = [_applied(corruption, example, seed, [example, *others]) for seed in range(_TRIES)]
    first = contents(results[0])
    require(
        any(contents(result) != contents(example) for result in results),
        f"{name_of(corruption)} leaves {_shown(example)} as it is, with each of {_TRIES} seeds",
    )
    found = any(contents(result) != first for result in results)
    require(
        varies in (None, found),
        f"{name_of(corruption)} gives {'different results' if found else 'one result'} for {_TRIES} seeds "
        f"(varies={varies})",
    )


def _check_selection(corruption: SelectiveCorruption) -> None:
    """The other images of a row are as they were, and there are as many marks as images."""
    example, *others = _others(2)
    for chosen in (0, 1):
        selective = corruption.model_copy(update={"images": chosen})
        kept = contents(replace(example, images=(example.images[1 - chosen],)))
        for seed in range(_TRIES):
            corrupted = _applied(selective, example, seed, [example, *others])
            _require_sound(selective, example, corrupted)
            place = (1 - chosen) if len(corrupted.images) == len(example.images) else 0
            require(
                len(corrupted.images) > place and contents(replace(example, images=(corrupted.images[place],))) == kept,
                f"{name_of(corruption)} with images={chosen} does not leave image {1 - chosen} as it is",
            )


def _check_mode(corruption: ImageCorruption, mode: str) -> None:
    for size in _SIZES:
        image = noise(size, 7).convert("RGBA").convert(mode)
        shown = f"an image of mode {mode} and {size[0]}x{size[1]} pixels"
        before = image.tobytes()
        made = [_changed(corruption, image, shown) for _ in range(2)]
        require(image.tobytes() == before, f"{name_of(corruption)} changes {shown} that it is given")
        require(made[0].tobytes() == made[1].tobytes(), f"{name_of(corruption)} gives two results for {shown}")
        found = f"{made[0].mode} and {made[0].width}x{made[0].height}"
        require(
            (made[0].mode, made[0].size) == (mode, size), f"{name_of(corruption)} makes one of mode {found} of {shown}"
        )


def _changed(corruption: ImageCorruption, image: Image, shown: str) -> Image:
    import PIL.Image

    with calling(corruption, f"for {shown}"):
        made = corruption(image, random.Random(7))
    require_returned(corruption, f"for {shown}", made, PIL.Image.Image, "a PIL image")
    return made


def _others(num_images: int) -> list[Example]:
    """A few rows with pictures of their own."""
    pictures = [[noise((24 + row, 17), 10_000 + 10 * row + place) for place in range(num_images)] for row in range(3)]
    return [_row(f"other-{row}", found) for row, found in enumerate(pictures)]


def _row(name: str, pictures: Sequence[Image]) -> Example:
    marks = f"{IMAGE_MARK}\n" * len(pictures)
    responses = {"chosen": "two dogs", "rejected": "a tree"}
    row = Example(name, f"USER: {marks}what is there ? ASSISTANT:", responses, tuple(pictures), {"score": 0.5})
    return with_others(row)


def _shown(example: Example) -> str:
    sizes = ", ".join(f"{image.width}x{image.height}" for image in example.images)
    return f"a row with images of {sizes}"
