"""What makes a row unfit to train on, whatever reader it comes from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise

from mdpo_core.example import IMAGE_MARK, Example, Turn
from mdpo_core.fields import type_problem


def row_problems(example: Example) -> list[str]:
    """Everything that is wrong with an example by itself, one sentence each."""
    wrong = type_problem(example)
    if wrong is not None:
        return [wrong]
    texts = {name: _texts(response) for name, response in example.responses.items()}
    found = [f"the response '{name}' is empty" for name, each in texts.items() if not all(map(str.strip, each))]
    found += [
        f"the response '{name}' holds an {IMAGE_MARK} mark, which belongs into prompts"
        for name, each in texts.items()
        if any(IMAGE_MARK in text for text in each)
    ]
    found += [
        f"the response '{name}' is a conversation; it goes from an assistant's turn to an assistant's, one at a time"
        for name, response in example.responses.items()
        if not isinstance(response, str) and not _answers(response)
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


def _answers(turns: Sequence[Turn]) -> bool:
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
            yield f"the boxes '{name}' are those of {len(boxes)} images, and there are {len(example.images)}"
            continue
        for number, image in enumerate(example.images):
            found = (box.problem(image.size) for box in boxes[number])
            yield from (f"boxes '{name}' of image {number}: {text}" for text in found if text is not None)
