"""What makes a row invalid: fields of wrong types, and values that make no sense."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, pairwise
from typing import Any, TypeGuard, get_args

from mdpo_core.errors import shown
from mdpo_core.types.example import IMAGE_MARK, Box, Example, ExampleField, Turn


def problems_of_row(example: Example) -> list[str]:
    """Every problem of an example that shows without the other rows, one message each."""
    wrong = wrong_type_in(example)
    if wrong is not None:
        return [wrong]
    texts = {name: _texts(response) for name, response in example.responses.items()}
    found = [f"the response '{name}' is empty" for name, each in texts.items() if not all(map(str.strip, each))]
    found += [
        f"the response '{name}' contains an {IMAGE_MARK} mark; only prompts may contain one"
        for name, each in texts.items()
        if any(IMAGE_MARK in text for text in each)
    ]
    found += [
        f"the response '{name}' is a conversation, so its first and last turns must be the assistant's, and two "
        "assistant turns must not follow each other"
        for name, response in example.responses.items()
        if not isinstance(response, str) and not _is_conversation(response)
    ]
    found += [
        f"the responses '{one}' and '{other}' are equal, so neither can be preferred"
        for one, other in combinations(example.responses, 2)
        if example.responses[one] == example.responses[other]
    ]
    marks, images = example.num_marks, len(example.images)
    if marks != images:
        found.append(f"the prompt has {marks} {IMAGE_MARK} marks for {images} images; it needs one for each")
    return [*found, *_vector_problems(example), *_box_problems(example)]


def _texts(response: str | tuple[Turn, ...]) -> list[str]:
    return [response] if isinstance(response, str) else [turn.text for turn in response]


def _is_conversation(turns: Sequence[Turn]) -> bool:
    """Whether every answer is one turn, and the first and the last turn are answers."""
    roles = [turn.role for turn in turns]
    repeated = any(one == other == "assistant" for one, other in pairwise(roles))
    return bool(roles) and roles[0] == roles[-1] == "assistant" and not repeated


def _vector_problems(example: Example) -> Iterator[str]:
    for name, vector in example.vectors.items():
        if not all(map(math.isfinite, vector)):
            yield f"the vector '{name}' holds a number that is not finite"


def _box_problems(example: Example) -> Iterator[str]:
    for name, boxes in example.boxes.items():
        if len(boxes) != len(example.images):
            yield f"the boxes '{name}' are for {len(boxes)} images, but the row has {len(example.images)}"
            continue
        for index, image in enumerate(example.images):
            found = (box.problem(image.size) for box in boxes[index])
            yield from (f"boxes '{name}' of image {index}: {problem}" for problem in found if problem is not None)


def wrong_type_in(example: object) -> str | None:
    """The first field of an example whose type is not what `Example` says, as a sentence; None if all are right.

    Nothing checks the types when a plugin makes an example.
    """
    return next(_type_problems(example), None)


def _type_problems(example: object) -> Iterator[str]:
    import PIL.Image

    if not isinstance(example, Example):
        yield f"{shown(example)} is not an Example"
        return
    if not isinstance(example.id, str):
        yield f"the id is {shown(example.id)}; it must be text"
    for field in get_args(ExampleField):
        value = getattr(example, field)
        if not isinstance(value, Mapping):
            yield f"its {field} are {shown(value)}; they must be a mapping from names"
    yield from _text_problems("the prompt", example.prompt)
    for kind, texts in (("response", example.responses), ("other prompt", example.other_prompts)):
        for name, text in texts.items():
            yield from _text_problems(f"the {kind} '{name}'", text)
    yield from _list_problems("its images", example.images, PIL.Image.Image, "a PIL image")
    for name, images in example.other_images.items():
        yield from _list_problems(f"its other images '{name}'", images, PIL.Image.Image, "a PIL image")
    for name, vector in example.vectors.items():
        # What else than a float stands in a vector, another sentence says.
        yield from _list_problems(f"its vector '{name}'", vector, object, "a float")
    for name, boxes in example.boxes.items():
        yield from _list_problems(f"its boxes '{name}'", boxes, (tuple, list), "a tuple of Box for each image")
        for found in boxes:
            yield from _list_problems(f"its boxes '{name}' of an image", found, Box, "a Box")


def _text_problems(where: str, text: object) -> Iterator[str]:
    if not isinstance(text, str) and not (_is_list(text) and all(isinstance(each, Turn) for each in text)):
        yield f"{where} is {shown(text)}; it must be text or a tuple of Turn"


def _list_problems(where: str, values: object, wanted: type | tuple[type, ...], words: str) -> Iterator[str]:
    if not _is_list(values):
        yield f"{where} are {shown(values)}; they must be a tuple, each of them {words}"
        return
    for value in values:
        if not isinstance(value, wanted):
            yield f"among {where} is {shown(value)}; each must be {words}"


def _is_list(value: object) -> TypeGuard[tuple[Any, ...] | list[Any]]:
    return isinstance(value, (tuple, list))
