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
from mdpo_core.types.example import Example
from mdpo_core.types.marks import IMAGE_MARK

if TYPE_CHECKING:
    from PIL.Image import Image

_TRIES = 20
_WITH_VIDEO = 5  # images of a row: a picture, and the frames of a video
_SIZES = ((1, 1), (1, 3000), (3000, 1), (31, 23), (400, 300))
PILLOW_MODES = (
    *("1", "L", "LA", "La", "P", "PA", "RGB", "RGBX", "RGBA", "RGBa", "CMYK", "YCbCr", "LAB", "HSV"),
    *("I", "F", "I;16", "I;16L", "I;16B", "I;16N"),
)


def check_corruption(corruption: Corruption, *, varies: bool | None = True, modes: Sequence[str] = ()) -> None:
    """Check a corruption; raises `AssertionError` with what it breaks.

    ``varies``: True if other seeds usually give other results, False if they never do, None if both are allowed.

    Of several images, those behind the first one are the frames of a video. Besides its images, each row has other
    images and another prompt named ``other``, a vector ``embedding`` and boxes ``regions``. If the corruption reads
    such a field, its options must use these names.

    Readers only give RGB images. ``modes``: more Pillow modes that an `ImageCorruption` must keep; `PILLOW_MODES`
    lists them all.
    """
    check_options(corruption, Corruption)
    _check_randomness(corruption)
    for num_images in sorted({1, 2, _enough_images(corruption)}):
        _check_any_row(corruption, num_images)
    _check_effect(corruption, varies)
    if isinstance(corruption, SelectiveCorruption):
        _check_selection(corruption)
    if isinstance(corruption, ImageCorruption):
        for mode in ("RGB", *modes):
            _check_mode(corruption, mode)


def _applied(corruption: Corruption, example: Example, seed: int, data: Sequence[Example]) -> Example:
    context = f"for {_shown(example)} and the seed {seed}"
    with calling(corruption, context):
        corrupted = corruption.apply(example, random.Random(seed), data)
    require_returned(corruption, context, corrupted, Example, "an Example")
    require_fields(f"{name_of(corruption)} returns an invalid Example {context}", corrupted)
    return corrupted


def _check_randomness(corruption: Corruption) -> None:
    """Uses fixed rows: hypothesis reports a property that fails only at times as flaky, without its message."""
    data = _others(_enough_images(corruption))
    for seed in range(_TRIES):
        generators = global_randomness()
        first, second = (contents(_applied(corruption, data[0], seed, data)) for _ in range(2))
        require(
            global_randomness() == generators,
            f"{name_of(corruption)} uses a global random generator; take all randomness from rng",
        )
        require(
            first == second,
            f"{name_of(corruption)} gives different results for the same seed ({seed}) and {_shown(data[0])}",
        )


def _check_any_row(corruption: Corruption, num_images: int) -> None:
    @PROPERTY
    @given(st.lists(images(), min_size=num_images, max_size=num_images), st.integers(0, 1000))
    def pure_and_valid(pictures: list[Image], seed: int) -> None:
        example = _row("example", pictures)
        data = [example, *_others(num_images)]
        before = all_contents(data)
        corrupted = _applied(corruption, example, seed, data)
        require(all_contents(data) == before, f"{name_of(corruption)} changes its input: {_shown(example)}")
        _require_valid(corruption, example, corrupted)

    pure_and_valid()


def _require_valid(corruption: Corruption, example: Example, corrupted: Example) -> None:
    """Check that only prompt and images changed, and that the corrupted row is valid."""
    name, shown = name_of(corruption), _shown(example)
    for field in ("id", "responses", "columns", "other_images", "other_prompts", "vectors", "boxes"):
        require(getattr(corrupted, field) == getattr(example, field), f"{name} changes the {field} of {shown}")
    problems = problems_of_row(replace(corrupted, boxes={}))  # the boxes belong to the original images
    require(not problems, f"{name} turns {shown} into an invalid row: {'; '.join(problems)}")
    modes = [image.mode for image in corrupted.images]
    require(set(modes) <= {"RGB"}, f"{name} gives images of modes {modes}; models take RGB")
    if isinstance(corruption, ImageCorruption):
        sizes, wanted = [[image.size for image in each.images] for each in (corrupted, example)]
        require(sizes == wanted, f"{name} changes the image sizes from {wanted} to {sizes}")


def _check_effect(corruption: Corruption, varies: bool | None) -> None:
    example, *others = _others(_enough_images(corruption))
    results = [_applied(corruption, example, seed, [example, *others]) for seed in range(_TRIES)]
    first = contents(results[0])
    require(
        any(contents(result) != contents(example) for result in results),
        f"{name_of(corruption)} does not change {_shown(example)} with any of {_TRIES} seeds",
    )
    differs = any(contents(result) != first for result in results)
    require(
        varies in (None, differs),
        f"{name_of(corruption)} gives {'different results' if differs else 'the same result'} for {_TRIES} seeds, but "
        f"varies={varies}",
    )


def _check_selection(corruption: SelectiveCorruption) -> None:
    """Check that the images that are not selected stay unchanged, and that each image has a mark."""
    example, *others = _others(2)
    for chosen in (0, 1):
        selective = corruption.model_copy(update={"images": chosen})
        kept = contents(replace(example, images=(example.images[1 - chosen],)))
        for seed in range(_TRIES):
            corrupted = _applied(selective, example, seed, [example, *others])
            _require_valid(selective, example, corrupted)
            index = (1 - chosen) if len(corrupted.images) == len(example.images) else 0
            require(
                len(corrupted.images) > index and contents(replace(example, images=(corrupted.images[index],))) == kept,
                f"{name_of(corruption)} with images={chosen} changes or removes image {1 - chosen}",
            )


def _check_mode(corruption: ImageCorruption, mode: str) -> None:
    for size in _SIZES:
        image = noise(size, 7).convert("RGBA").convert(mode)
        shown = f"an image of mode {mode} and {size[0]}x{size[1]} pixels"
        before = image.tobytes()
        first, second = (_changed(corruption, image, shown) for _ in range(2))
        require(image.tobytes() == before, f"{name_of(corruption)} changes its input: {shown}")
        require(
            first.tobytes() == second.tobytes(),
            f"{name_of(corruption)} gives different results for the same seed and {shown}",
        )
        require(
            (first.mode, first.size) == (mode, size),
            f"{name_of(corruption)} turns {shown} into one of mode {first.mode} and {first.width}x{first.height}",
        )


def _changed(corruption: ImageCorruption, image: Image, shown: str) -> Image:
    import PIL.Image

    with calling(corruption, f"for {shown}"):
        changed = corruption(image, random.Random(7))
    require_returned(corruption, f"for {shown}", changed, PIL.Image.Image, "a PIL image")
    return changed


def _enough_images(corruption: Corruption) -> int:
    """How many images a row needs for this corruption to apply to it: one, or a picture and a video."""
    [one, *_], [several, *_] = _others(1), _others(_WITH_VIDEO)
    with calling(corruption, f"in applies_to() for {_shown(several)}"):
        applies = [corruption.applies_to(row) for row in (one, several)]
    require(any(applies), f"{name_of(corruption)} applies to no row: neither to {_shown(one)} nor to {_shown(several)}")
    return 1 if applies[0] else _WITH_VIDEO


def _others(num_images: int) -> list[Example]:
    """Three rows, each with its own images."""
    images_of_rows = [
        [noise((24 + row, 17), 10_000 + 10 * row + index) for index in range(num_images)] for row in range(3)
    ]
    return [_row(f"other-{row}", pictures) for row, pictures in enumerate(images_of_rows)]


def _row(name: str, pictures: Sequence[Image]) -> Example:
    marks = f"{IMAGE_MARK}\n" * len(pictures)
    responses = {"chosen": "two dogs", "rejected": "a tree"}
    row = Example(name, f"USER: {marks}what is there ? ASSISTANT:", responses, tuple(pictures), {"score": 0.5})
    return with_others(row)


def _shown(example: Example) -> str:
    sizes = ", ".join(f"{image.width}x{image.height}" for image in example.images)
    videos = f", of which a video has {len(example.videos[0])}" if example.videos else ""
    return f"a row with images of {sizes}{videos}"
