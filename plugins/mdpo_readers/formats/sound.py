"""Which texts and messages are surely read as they are stored, many at once.

What is not surely so is read one by one: these functions may say no too often, and never yes too often.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy
import pyarrow
from numpy.typing import NDArray
from pyarrow import compute, types

from mdpo_readers.cell_types import number_in
from mdpo_readers.formats.counting import (
    Mask,
    holds_in_all,
    is_null,
    is_text,
    is_true,
    objects_in,
)

Numbers = NDArray[numpy.float64]

# What Python takes for space, which Arrow's expressions take so in ASCII alone.
_SPACE = r"\s\x0b\x1c-\x1f\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}"
_MAY_BE_WRITTEN = rf"^[{_SPACE}]*[\[{{]"  # a list or an object
_IS_FILLED = rf"[^{_SPACE}]"
_EMBEDDED = ";base64,"
_KEYS = (("role", "content"), ("from", "value"))
_CALLS = ("tool_calls", "function_call")
_OTHER, _SYSTEM, _USER, _ASSISTANT = range(4)
_ROLES = {"system": _SYSTEM, "user": _USER, "human": _USER, "assistant": _ASSISTANT, "gpt": _ASSISTANT}
_EXACT = 2**53  # a float is exact for every whole number below this one


def are_texts(stored: pyarrow.Array) -> Mask:
    """Whether `text` surely takes each value as it is."""
    if not is_text(stored.type):
        return numpy.zeros(len(stored), bool)
    may_be_other = compute.or_(
        compute.match_substring_regex(stored, _MAY_BE_WRITTEN), compute.match_substring(stored, _EMBEDDED)
    )
    return is_true(compute.invert(may_be_other))


def are_questions(stored: pyarrow.Array) -> Mask:
    """Whether `question` surely takes each value as it is."""
    texts = are_texts(stored)
    return texts & is_true(compute.match_substring_regex(stored, _IS_FILLED)) if is_text(stored.type) else texts


def numbers_of(stored: pyarrow.Array) -> Numbers:
    """The numbers as `number_or_text` reads them; not a number where it may refuse the value."""
    if is_text(stored.type):
        return texts_as_numbers(stored)
    if not (types.is_integer(stored.type) or types.is_floating(stored.type) or types.is_boolean(stored.type)):
        return numpy.full(len(stored), numpy.nan)
    found = stored.cast(pyarrow.float64(), safe=False).to_numpy(zero_copy_only=False)
    is_exact = numpy.isfinite(found) & ((numpy.abs(found) < _EXACT) | types.is_floating(stored.type))
    return numpy.where(is_exact, found, numpy.nan)


def texts_as_numbers(stored: pyarrow.Array) -> Numbers:
    """The finite numbers that texts mean; not a number where there is none."""
    coded = stored.dictionary_encode()
    found = [number_in(text) for text in coded.dictionary.to_pylist()]
    values = numpy.array([*found, None], float)  # the last one is for null
    numbers: Numbers = values[coded.indices.fill_null(len(found)).to_numpy(zero_copy_only=False)]
    return numbers


class Conversations(NamedTuple):
    """Lists of messages of text. ``rows``: the row of each message, from 0. ``texts``: what each says.

    ``roles``: numbers that are equal for equal roles. ``are_whole``: which rows `prompt_and_response` surely reads.
    ``are_prompts``: which rows `prompt` surely reads.
    """

    rows: NDArray[numpy.int64]
    roles: NDArray[numpy.int64]
    texts: pyarrow.Array
    are_whole: Mask
    are_prompts: Mask


def conversations_in(stored: pyarrow.Array) -> Conversations | None:
    """The conversations in a column, whose messages may each stand in a list of its own; None for another type."""
    found = objects_in(stored)
    if found is None:
        return None
    keys = [(role, text) for role, text in _KEYS if role in found.fields or text in found.fields]
    if len(keys) != 1 or not all(key in found.fields and is_text(found.fields[key].type) for key in keys[0]):
        return None
    roles, texts = _roles(found.fields[keys[0][0]]), found.fields[keys[0][1]]
    is_sound = (roles != _OTHER) & are_texts(texts)
    for name in set(_CALLS) & set(found.fields):
        is_sound &= is_null(found.fields[name])
    are_sound = holds_in_all(found.rows, is_sound, len(stored)) & ~is_null(stored)
    counts, asks = numpy.bincount(found.rows, minlength=len(stored)), (roles != _ASSISTANT) & are_questions(texts)
    last = numpy.cumsum(counts) - 1
    are_prompts, before = are_sound & (counts > 0), are_sound & (counts > 1)
    are_prompts[are_prompts] = asks[last[are_prompts]]
    before[before] = asks[last[before] - 1] & (roles[last[before]] == _ASSISTANT)
    return Conversations(found.rows, roles, texts, before, are_prompts)


def are_prompts(stored: pyarrow.Array) -> Mask:
    """Whether each value is surely a question, or messages that end with one."""
    if is_text(stored.type):
        return are_questions(stored)
    found = conversations_in(stored)
    return numpy.zeros(len(stored), bool) if found is None else found.are_prompts


def _roles(stored: pyarrow.Array) -> NDArray[numpy.int64]:
    coded = stored.dictionary_encode()
    known = [_ROLES.get(text.lower(), _OTHER) for text in coded.dictionary.to_pylist()]
    codes = numpy.array([*known, _OTHER], numpy.int64)  # the last one is for null
    roles: NDArray[numpy.int64] = codes[coded.indices.fill_null(len(known)).to_numpy(zero_copy_only=False)]
    return roles
