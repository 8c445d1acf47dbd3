"""A question with its pictures, as a person asks it: read and checked before a model is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mdpo_core.data.pictures.images import read_image
from mdpo_core.errors import DataError, Problem
from mdpo_core.types.example import Example
from mdpo_core.types.marks import IMAGE_MARK, VIDEO_MARK, count_marks

if TYPE_CHECKING:
    from PIL.Image import Image


def as_example(question: str, pictures: Sequence[str | Path | Image]) -> Example:
    """The question as a row without responses. Raises `DataError` for pictures and marks that cannot be used.

    Marks that the question lacks are set before it.
    """
    if not question.strip():
        raise DataError("the prompt is empty; write a question")
    text = _with_marks(question, len(pictures))
    return Example("question", text, {}, tuple(map(_picture, pictures)))


def _with_marks(question: str, pictures: int) -> str:
    if count_marks(question, VIDEO_MARK):
        raise DataError(
            f"the prompt has a {VIDEO_MARK} mark, but only pictures can be asked about; give some frames as pictures, "
            f"or write \\{VIDEO_MARK} if it is plain text"
        )
    marks = count_marks(question)
    if marks == pictures:
        return question
    if marks == 0:
        return f"{IMAGE_MARK * pictures}\n{question}"
    found = f"the prompt has {_counted(marks, f'{IMAGE_MARK} mark')}, but there {_are(pictures, 'picture')}"
    raise DataError(f"{found}; write one mark for each picture, or none, and all of them are set before the prompt")


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _are(number: int, thing: str) -> str:
    return f"{'is' if number == 1 else 'are'} {_counted(number, thing)}"


def _picture(source: str | Path | Image) -> Image:
    if isinstance(source, list | tuple):
        listed = ", ".join(repr(each) if isinstance(each, str) else "PICTURE" for each in source)
        raise DataError(f"a picture is a {type(source).__name__}; give pictures one by one: answer(QUESTION, {listed})")
    if not isinstance(source, str | Path):
        return source.convert("RGB")
    path = Path(source).expanduser()
    if not path.is_file():
        raise DataError(
            [Problem(str(source), "", "the picture does not exist" if not path.exists() else "is not a file")]
        )
    try:
        return read_image(path)
    except DataError as error:
        said = [f"cannot be read as a picture: {each.message}" for each in error.problems]
        raise DataError([Problem(str(source), "", each) for each in said]) from error
