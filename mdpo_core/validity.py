"""What makes a row unfit to train on, whatever reader it comes from."""

from __future__ import annotations

from itertools import combinations

from mdpo_core.example import IMAGE_MARK, Example


def row_problems(example: Example) -> list[str]:
    """Everything that is wrong with an example by itself, one sentence each."""
    found = [f"the response '{name}' is empty" for name, text in example.responses.items() if not text.strip()]
    found += [
        f"the response '{name}' holds an {IMAGE_MARK} mark, which belongs into prompts"
        for name, text in example.responses.items()
        if IMAGE_MARK in text
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
