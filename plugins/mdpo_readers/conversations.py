"""Read chat messages: the turns of a conversation, and the response at its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, get_args

from mdpo_core import IMAGE_MARK, VIDEO_MARK, Turn
from mdpo_core import Role as RoleName
from mdpo_readers.cell_types import Cell, holds_tools, question, shown, text
from mdpo_readers.embedded import held
from mdpo_readers.messages import item

_ROLES = {name: name for name in get_args(RoleName)} | {"human": "user", "gpt": "assistant"}
_KEYS = (("role", "content"), ("from", "value"))
_TEXT_PARTS = ("text", "input_text", "output_text")
_IMAGE_PARTS = ("image", "image_url", "input_image")
_VIDEO_KEYS = ("video", "video_url", "path", "url", "bytes")
_CALLS = ("tool_calls", "function_call")
_VIDEO_PARTS = ("video", "video_url", "input_video")


def prompt(cell: Cell) -> str | tuple[Turn, ...]:
    """The prompt of a row: text, or the turns before the response."""
    if not isinstance(cell.value, list):
        return question(cell)
    turns = _turns(cell)
    if not turns or turns[-1].role == "assistant":
        raise cell.wrong("a prompt must end with a user's turn, which the responses answer")
    _require_question(cell, turns)
    return turns


def response(cell: Cell, remedy: str = "keep the turns after the question alone") -> str | tuple[Turn, ...]:
    """The response of a row: text, or turns; the assistant has the first turn and the last.

    ``remedy``: what to do about other turns before it.
    """
    if isinstance(cell.value, dict):  # one message
        cell = cell._replace(value=[cell.value])
    if not isinstance(cell.value, list):
        return text(cell)
    before, answer = _split(cell)
    if not before:
        return answer
    if before[0].role != "assistant":
        raise cell.wrong(f"must begin with an assistant's turn, and has other turns before it; {remedy}")
    return (*before, Turn("assistant", answer))


def prompt_and_response(cell: Cell) -> tuple[tuple[Turn, ...], str]:
    """Split a whole conversation: the last turn, which is the assistant's, is the response."""
    before, answer = _split(cell)
    if not before or before[-1].role == "assistant":
        raise cell.wrong("before the response there must be a user's turn, which it answers")
    _require_question(cell, before)
    return before, answer


def _require_question(cell: Cell, turns: Sequence[Turn]) -> None:
    """Raise `DataError` if the turn that is answered says and shows nothing."""
    if not turns[-1].text.strip():
        raise cell.wrong(f"asks an empty question: {turns[-1].text!r}; write the question, or remove the row")


def _split(cell: Cell) -> tuple[tuple[Turn, ...], str]:
    if not isinstance(cell.value, list):
        raise cell.must_be("a list of chat messages")
    turns = _turns(cell)
    if not turns or turns[-1].role != "assistant":
        raise cell.wrong("the last turn must be the assistant's: it is the response")
    return turns[:-1], turns[-1].text


def split_alike(chosen: Cell, rejected: Cell) -> tuple[tuple[Turn, ...], str, str]:
    """Split two whole conversations with the same turns before the responses."""
    prompt, answer = prompt_and_response(chosen)
    other_prompt, other_answer = prompt_and_response(rejected)
    if other_prompt != prompt:
        raise rejected.wrong(f"the turns before the response differ from the turns in '{chosen.column}'")
    return prompt, answer, other_answer


def images_inside(cell: Cell) -> list[Any]:
    """The images that parts of valid messages bring along, in order: paths, bytes, web addresses or data URIs."""
    return [found for part in _parts(cell) if is_image_part(part) and (found := image_in(part)) is not None]


def videos_inside(cell: Cell) -> list[Any]:
    """The videos that parts of valid messages bring along, in order: paths, bytes or lists of frames."""
    return [found for part in _parts(cell) if is_video_part(part) and (found := video_in(part)) is not None]


def is_image_part(value: dict[str, Any]) -> bool:
    """Whether an object is the part of a message that shows an image."""
    return value.get("type") in _IMAGE_PARTS


def is_video_part(value: dict[str, Any]) -> bool:
    """Whether an object is the part of a message that shows a video."""
    return value.get("type") in _VIDEO_PARTS


def _parts(cell: Cell) -> Iterator[dict[str, Any]]:
    """The parts of valid messages that have parts."""
    for message in cell.value if isinstance(cell.value, list) else []:
        content = next(message[content] for role, content in _KEYS if role in message and content in message)
        yield from content if isinstance(content, list) else ()


def image_in(part: dict[str, Any]) -> Any:
    """The image that a part brings along; None if it only stands for one."""
    found = held(part)
    return None if found is part or not found else found


def video_in(part: dict[str, Any]) -> Any:
    """The video that a part brings along; None if it only stands for one."""
    return next((part[key] for key in _VIDEO_KEYS if part.get(key)), None)


def _turns(cell: Cell) -> tuple[Turn, ...]:
    return tuple(
        _turn(cell._replace(column=f"{cell.column}[{index}]", value=value)) for index, value in enumerate(cell.value)
    )


def _turn(cell: Cell) -> Turn:
    message = cell.value
    if not isinstance(message, dict):
        raise cell.must_be("a chat message: {role, content}")
    _require_no_call(cell)
    for role, content in _KEYS:
        if role in message and content in message:
            return Turn(_role(cell._replace(value=message[role])), _content(cell._replace(value=message[content])))
    raise cell.must_be("a chat message: {role, content}")


def _require_no_call(cell: Cell) -> None:
    for key in _CALLS:
        if holds_tools(cell.value.get(key)):
            raise item(cell, key).wrong("calls a tool, which cannot be trained on yet; remove the row")


def _role(cell: Cell) -> Any:
    if not isinstance(cell.value, str):
        raise cell.must_be(f"a role: {', '.join(_ROLES)}")
    role = cell.value.lower()
    if role not in _ROLES:
        raise cell.wrong(f"{shown(cell.value)} is not a role; use one of: {', '.join(_ROLES)}")
    return _ROLES[role]


def _content(cell: Cell) -> str:
    """The text of a message: its parts joined, with a mark for each image and video."""
    if not isinstance(cell.value, list):
        return text(cell)
    return "".join(_part(cell._replace(value=part)) for part in cell.value)


def _part(cell: Cell) -> str:
    kind = cell.value.get("type") if isinstance(cell.value, dict) else None
    if kind in _IMAGE_PARTS:
        return IMAGE_MARK
    if kind in _VIDEO_PARTS:
        return VIDEO_MARK
    if kind in _TEXT_PARTS:
        return text(cell._replace(value=cell.value.get("text")))
    raise cell.must_be("a part of a message: {type: text, text}, {type: image} or {type: video}")
