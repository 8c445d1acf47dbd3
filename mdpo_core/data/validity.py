"""What makes a row invalid: fields of wrong types, and values that make no sense."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, pairwise
from typing import Any, TypeGuard, get_args

from mdpo_core.errors import Problem, blame_on, shown
from mdpo_core.interfaces.model import Encoder
from mdpo_core.types.example import Begun, Box, Example, ExampleField, Turn
from mdpo_core.types.marks import IMAGE_MARK, MARK, count_marks

# What remains of text that was read in another encoding: zeros of UTF-16, control characters in place of the quotation
# marks of cp1252, halves of characters (surrogates).
_MISREAD = re.compile("[\x00\x80-\x9f\ud800-\udfff]")
_REMEDY = " (data.image names the pictures' column; data.marks: first writes marks into prompts without any)"
# Characters that show nothing, besides white space and format characters: fillers, variation selectors, blanks.
_BLANK = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")


def problems_before_encoding(
    example: Example, encoder: Encoder, compared: Iterable[tuple[str, str]] | None = None
) -> list[Problem]:
    """Every problem of an example that shows before it is encoded: those of its fields, or else of its texts.

    ``compared``: see `problems_of_row`.
    """
    found = problems_of_row(example, compared)
    problems_of_texts = getattr(encoder, "problems_of_texts", None)
    if not found and problems_of_texts is not None:
        with blame_on(f"the encoder {type(encoder).__name__}, on example '{example.id}'"):
            found = problems_of_texts(example)
    return [Problem("", "", message) for message in found]


def problems_of_row(example: Example, compared: Iterable[tuple[str, str]] | None = None) -> list[str]:
    """Every problem of an example that shows without the other rows, one message each.

    ``compared``: the pairs of responses that must differ; None: all of them.
    """
    wrong = wrong_type_in(example)
    if wrong is not None:
        return [wrong]
    texts = {name: _texts(response) for name, response in example.responses.items()}
    found = [*_character_problems(example, texts), *_beginning_problems(example)]
    found += [
        f"the response '{name}' is empty{'' if '' in each else ': it shows nothing'}; write an answer, or remove the "
        "row"
        for name, each in texts.items()
        if not all(map(shows_something, each))
    ]
    found += _mark_problems(texts)
    found += [
        f"the response '{name}' is a conversation, so its first and last turns must be the assistant's, and two "
        "assistant turns must not follow each other"
        for name, response in example.responses.items()
        if not isinstance(response, str) and not _is_conversation(response)
    ]
    found += _equal_responses(example, combinations(example.responses, 2) if compared is None else compared)
    marks, images = example.num_marks, len(example.images)
    if marks != images:
        found.append(f"the prompt has {marks} {IMAGE_MARK} marks for {images} images; it needs one for each{_REMEDY}")
    return [*found, *_video_problems(example), *_vector_problems(example), *_box_problems(example)]


def _equal_responses(example: Example, pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    for one, other in pairs:
        if {one, other} <= example.responses.keys() and example.responses[one] == example.responses[other]:
            yield (
                f"the responses '{one}' and '{other}' are equal, so neither can be preferred; mend one of them, or "
                "remove the row"
            )


def _beginning_problems(example: Example) -> Iterator[str]:
    """What is wrong with the beginning of the answer, which the responses continue."""
    begun = example.begun
    if begun is None:
        return
    first = {name: _texts(response)[0] for name, response in example.responses.items() if response}
    yield from _marks_of_beginning(begun, first)
    if not begun.text.strip():
        return
    yield from (
        f"the response '{name}' is the beginning of the answer once more; a response is what follows it"
        for name, text in first.items()
        if text.strip() == begun.text.strip() and not _ends_its_word(begun, text)
    )
    if first and all(_repeats(text, begun) for text in first.values()):
        yield (
            "every response starts with the beginning of the answer, which would stand there twice; remove it from the "
            "responses, or, if they are whole answers, read them without a beginning (the reader's option `beginning`)"
        )


def _marks_of_beginning(begun: Begun, responses: Mapping[str, str]) -> Iterator[str]:
    """Marks in the beginning, in its joint, and where a response follows; those of the response itself are not."""
    for what, text in (
        ("the beginning of the answer", begun.text),
        ("the joint behind the beginning of the answer", begun.joint),
    ):
        if (mark := _mark_in(text)) is not None:
            yield f"{what} contains {mark} mark; only prompts may contain one"
            return
    for name, text in responses.items():
        if _mark_in(text) is None and (mark := _mark_in(begun.followed_by(text))) is not None:
            yield (
                f"the beginning of the answer and the response '{name}' make {mark} mark where they meet; only prompts "
                "may contain one: write a backslash before it if the word is meant"
            )


def _mark_in(text: str) -> str | None:
    """The first mark of a picture or a video in a text, with its article."""
    found = MARK.search(text)
    return None if found is None else f"{'an' if found[0] == IMAGE_MARK else 'a'} {found[0]}"


def _repeats(text: str, begun: Begun) -> bool:
    """Whether a response starts with the beginning once more, and not only with letters of a longer word."""
    text, beginning = text.strip(), begun.text.strip()
    is_longer = beginning[-1].isalnum() and text[len(beginning) :][:1].isalnum()
    return text.startswith(beginning) and not is_longer and not _ends_its_word(begun, text)


def _ends_its_word(begun: Begun, response: str) -> bool:
    """Whether a beginning is a piece of a word, which the response ends. Both may be equal, as in "haha"."""
    is_one_word = begun.text.strip().isalnum() and response[:1].isalnum()
    return is_one_word and not begun.joint and not begun.text[-1].isspace()


def _texts(response: str | tuple[Turn, ...]) -> list[str]:
    return [response] if isinstance(response, str) else [turn.text for turn in response]


def _mark_problems(responses: Mapping[str, list[str]]) -> Iterator[str]:
    for name, texts in responses.items():
        if any(map(count_marks, texts)):
            remedy = f"write \\{IMAGE_MARK} if the word is meant"
            yield f"the response '{name}' contains an {IMAGE_MARK} mark; only prompts may contain one: {remedy}"


def shows_something(text: str) -> bool:
    """Whether a text has a character that can be seen."""
    return any(not (char.isspace() or unicodedata.category(char) == "Cf" or _BLANK.match(char)) for char in text)


def _character_problems(example: Example, responses: Mapping[str, list[str]]) -> Iterator[str]:
    """What shows that a text was read in another encoding than it has."""
    prompts = {f"the other prompt '{name}'": _texts(prompt) for name, prompt in example.other_prompts.items()}
    if example.begun is not None:
        prompts["the beginning of the answer"] = [example.begun.text]
    named = {f"the response '{name}'": texts for name, texts in responses.items()}
    for where, texts in {"the id": [example.id], "the prompt": _texts(example.prompt), **prompts, **named}.items():
        found = next((match[0] for text in texts if (match := _MISREAD.search(text))), None)
        if found is not None:
            kind = "half of a character (a lone surrogate)" if found >= "\ud800" else "a control character"
            yield f"{where} contains {found!a}, {kind}; is the file in another encoding than it was read in?"


def _is_conversation(turns: Sequence[Turn]) -> bool:
    """Whether every answer is one turn, and the first and the last turn are answers."""
    roles = [turn.role for turn in turns]
    repeated = any(one == other == "assistant" for one, other in pairwise(roles))
    return bool(roles) and roles[0] == roles[-1] == "assistant" and not repeated


def _video_problems(example: Example) -> Iterator[str]:
    """A video has frames, in order, which are images of the row and of no other video."""
    free = 0
    for number, video in enumerate(example.videos, start=1):
        if not video:
            yield f"the video {number} has no frames"
        elif video.step != 1 or video.start < free or video.stop > len(example.images):
            where = f"the images {free} to {len(example.images) - 1}, counted from 0"
            yield f"the frames of the video {number} are {video}; they must be {where}, or some of them in order"
        free = max(free, video.stop)
    yield from _frame_time_problems(example)


def _frame_time_problems(example: Example) -> Iterator[str]:
    if example.frame_times and len(example.frame_times) != len(example.videos):
        yield f"the frame times are of {len(example.frame_times)} videos, but the row has {len(example.videos)}"
        return
    for number, video in enumerate(example.videos):
        times = example.times_of(number)
        in_order = all(one < other for one, other in pairwise(times)) and all(map(math.isfinite, times))
        if times and not (in_order and len(times) == len(video)):
            yield (
                f"the frame times of the video {number + 1} are {list(times)}; they must be {len(video)} seconds, one "
                "for each frame and each later than the one before"
            )


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
    yield from _begun_problems(example.begun)
    if not isinstance(example.source, str):
        yield f"the source is {shown(example.source)}; it must be text"
    for field in get_args(ExampleField):
        value = getattr(example, field)
        if not isinstance(value, Mapping):
            yield f"its {field} are {shown(value)}; they must be a mapping from names"
    yield from _text_problems("the prompt", example.prompt)
    for kind, texts in (("response", example.responses), ("other prompt", example.other_prompts)):
        for name, text in texts.items():
            yield from _text_problems(f"the {kind} '{name}'", text)
    yield from _list_problems("its images", example.images, PIL.Image.Image, "PIL images")
    yield from _list_problems("its videos", example.videos, range, "ranges of images")
    yield from _list_problems("its frame times", example.frame_times, (tuple, list), "tuples of seconds")
    for times in example.frame_times:
        yield from _list_problems("its frame times", times, (int, float), "seconds")
    for name, images in example.other_images.items():
        yield from _list_problems(f"its other images '{name}'", images, PIL.Image.Image, "PIL images")
    for name, vector in example.vectors.items():
        # Elements that are not floats have their own message in the contract of readers.
        yield from _list_problems(f"its vector '{name}'", vector, object, "floats")
    for name, boxes in example.boxes.items():
        yield from _list_problems(f"its boxes '{name}'", boxes, (tuple, list), "tuples of Box, one for each image")
        for of_image in boxes:
            yield from _list_problems(f"its boxes '{name}' of an image", of_image, Box, "Box objects")


def _begun_problems(begun: object) -> Iterator[str]:
    if begun is not None and not isinstance(begun, Begun):
        yield f"begun is {shown(begun)}; it must be a Begun or None"
    elif begun is not None and not (isinstance(begun.text, str) and isinstance(begun.joint, str)):
        yield f"begun is {shown(begun)}; its text and its joint must be text"


def _text_problems(field: str, text: object) -> Iterator[str]:
    if not isinstance(text, str) and not (_is_list(text) and all(isinstance(each, Turn) for each in text)):
        yield f"{field} is {shown(text)}; it must be text or a tuple of Turn"


def _list_problems(field: str, values: object, types: type | tuple[type, ...], expected: str) -> Iterator[str]:
    if not _is_list(values):
        yield f"{field} must be a tuple of {expected}, found {shown(values)}"
        return
    for value in values:
        if not isinstance(value, types):
            yield f"{field} must contain only {expected}, found {shown(value)}"


def _is_list(value: object) -> TypeGuard[tuple[Any, ...] | list[Any]]:
    return isinstance(value, (tuple, list))


def odd_picture(corrupted: Example, example: Example, same: bool) -> str | None:
    """What is wrong with a corrupted picture that encoders would silently show as another one; None if nothing is.

    ``same``: each picture must have the mode and size of the one that it replaces.
    """
    for before, image in zip(example.images, corrupted.images, strict=False) if same else ():
        if (image.mode, image.size) != (before.mode, before.size):
            found = f"it returned a picture {image.mode} {image.size}"
            return f"{found}; it was given {before.mode} {before.size}, and must keep mode and size"
    given = (*example.images, *(image for images in example.other_images.values() for image in images))
    modes = {"RGB", "L", *(image.mode for image in given)}
    for image in corrupted.images:
        if 0 in image.size:
            return f"it returned an empty picture, of size {image.size}"
        if image.mode not in modes:
            return f"it returned a picture of mode {image.mode}; return one of mode RGB"
    return None
