"""The types of what an example holds, which nothing checks when it is made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard, get_args

from mdpo_core.errors import shown
from mdpo_core.example import Box, Example, NamedPart, Turn


def type_problem(example: object) -> str | None:
    """The first field of what a plugin has made that does not hold what `Example` says, as a sentence."""
    return next(_problems(example), None)


def _problems(example: object) -> Iterator[str]:
    import PIL.Image

    if not isinstance(example, Example):
        yield f"{shown(example)} is no Example"
        return
    if not isinstance(example.id, str):
        yield f"the id is {shown(example.id)}; it must be text"
    for field in get_args(NamedPart):
        value = getattr(example, field)
        if not isinstance(value, Mapping):
            yield f"its {field} are {shown(value)}; they must be a mapping from names"
    yield from _text_problems("the prompt", example.prompt)
    for kind, texts in (("response", example.responses), ("prompt", example.prompts)):
        for name, text in texts.items():
            yield from _text_problems(f"the {kind} '{name}'", text)
    yield from _list_problems("its images", example.images, PIL.Image.Image, "a PIL image")
    for name, pictures in example.pictures.items():
        yield from _list_problems(f"its pictures '{name}'", pictures, PIL.Image.Image, "a PIL image")
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
