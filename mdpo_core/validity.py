"""What makes a row unfit to train on, whatever reader it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise

from mdpo_core.example import IMAGE_MARK, Example, Turn


def row_problems(example: Example) -> list[str]:
    """Everything that is wrong with an example by itself, one sentence each."""
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
    return found


def _texts(response: str | tuple[Turn, ...]) -> list[str]:
    return [response] if isinstance(response, str) else [turn.text for turn in response]


def _answers(turns: Sequence[Turn]) -> bool:
    """Whether every answer is one turn, and the first and the last turn are answers."""
    roles = [turn.role for turn in turns]
    repeated = any(one == other == "assistant" for one, other in pairwise(roles))
    return bool(roles) and roles[0] == roles[-1] == "assistant" and not repeated
