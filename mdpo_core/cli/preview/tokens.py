"""Tokens by whose text they are: the system's, the user's, the assistant's, the template's, or of an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, NamedTuple

from mdpo_core.interfaces.model import Encoder
from mdpo_core.types.batch import EncodedPrompt
from mdpo_core.types.example import Prompt, Turn
from mdpo_core.types.marks import replace_marks

if TYPE_CHECKING:
    from torch import Tensor

_BROKEN = "\ufffd"  # part of a character
_LONGEST_CHARACTER = 8  # tokens
_PICTURE = "\0"  # no text contains it: it shows that a file was misread


class Run(NamedTuple):
    """Tokens of one role, in order: ``pieces`` are their texts. Image tokens have no text.

    ``num_dropped``: how many of the image tokens nothing attends to.
    """

    role: str
    pieces: Sequence[str] = ()
    num_tokens: int = 0
    num_dropped: int = 0


def prompt_runs(encoder: Encoder, prompt: EncodedPrompt, text: Prompt) -> list[Run]:
    """The tokens of a prompt by role. A ready-made prompt, which no template changes, has the role ``ready``."""
    ids = prompt.token_ids.tolist()
    dropped = [False] * len(ids) if prompt.dropped is None else prompt.dropped.tolist()
    shown = [_Shown("image", "", dropped[place]) for place in range(len(ids))]
    words = [place for place, token in enumerate(ids) if token != encoder.image_token]
    pieces = texts_of(encoder, [ids[place] for place in words])
    for place, piece, role in zip(words, pieces, _roles(pieces, text), strict=True):
        shown[place] = _Shown(role, piece, False)
    return list(_runs(shown))


def response_runs(encoder: Encoder, ids: Tensor, turns: Tensor | None) -> list[Run]:
    """The tokens of a response: ``scored``, or ``read``, which are another role's turns inside of a conversation."""
    scored = [True] * len(ids) if turns is None else (turns > 0).tolist()
    pieces = texts_of(encoder, ids.tolist())
    return list(
        _runs([_Shown("scored" if on else "read", piece, False) for on, piece in zip(scored, pieces, strict=True)])
    )


class _Shown(NamedTuple):
    role: str
    piece: str
    dropped: bool


def _runs(shown: Sequence[_Shown]) -> Iterator[Run]:
    for role, group in groupby(shown, key=lambda each: each.role):
        part = list(group)
        if role == "image":
            yield Run(role, (), len(part), sum(each.dropped for each in part))
        else:
            yield Run(role, [each.piece for each in part if each.piece], len(part))


def texts_of(encoder: Encoder, ids: Sequence[int]) -> list[str]:
    """A text for each token. Of tokens that share a character, the first has its text, and the others none."""
    pieces = encoder.token_texts(list(ids))
    place = 0
    while place < len(pieces):
        if _BROKEN in pieces[place]:
            size, text = _character(encoder, ids[place : place + _LONGEST_CHARACTER])
            pieces[place : place + size] = [text, *[""] * (size - 1)]
            place += size - 1
        place += 1
    return pieces


def _character(encoder: Encoder, ids: Sequence[int]) -> tuple[int, str]:
    """How many of the first tokens make whole characters, and their text; one token as it is if none do."""
    import torch

    for size in range(2, len(ids) + 1):
        text = encoder.decode(torch.tensor(ids[:size]))
        if text and _BROKEN not in text:
            return size, text
    return 1, _BROKEN


def _roles(pieces: Sequence[str], text: Prompt) -> list[str]:
    """The role of each token: that of the turn whose text it is in, ``template`` in no turn."""
    # Blanks do not count: tokenizers write them before, after or inside of tokens. Nor do backslashes: those before
    # marks are gone.
    letters = [(char, place) for place, piece in enumerate(pieces) for char in _letters(piece)]
    joined = "".join(char for char, _ in letters)
    roles, start = ["template"] * len(pieces), 0
    turns = [Turn("user", text)] if isinstance(text, str) else text
    for turn in turns:
        for part in replace_marks(turn.text, _PICTURE).split(_PICTURE):
            wanted = _letters(part)
            found = joined.find(wanted, start) if wanted else -1
            if found < 0:
                continue
            start = found + len(wanted)
            for _, place in letters[found:start]:
                roles[place] = turn.role
    inside = [role for role, piece in zip(roles, pieces, strict=True) if piece.strip()][1:]  # after a begin token
    if isinstance(text, str) and "template" not in inside:
        begins = roles[0] == "template" and bool(pieces[0].strip())
        return ["template" if begins and place == 0 else "ready" for place in range(len(roles))]
    return _with_blanks(roles, pieces)


def _letters(text: str) -> str:
    return "".join(text.replace("\\", "").split())


def _with_blanks(roles: list[str], pieces: Sequence[str]) -> list[str]:
    """Tokens without letters between two tokens of one role have that role, too."""
    lettered = [place for place, piece in enumerate(pieces) if _letters(piece)]
    for left, right in pairwise(lettered):
        if roles[left] == roles[right]:
            roles[left:right] = [roles[left]] * (right - left)
    return roles
