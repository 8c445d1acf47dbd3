"""Errors by whose mistake they report: the recipe's, a plugin's, the data's, a checkpoint's; and the words for them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from reprlib import repr as short

# What a sentence shows the value of; of anything else it gives the type.
_PLAIN = (str, bytes, int, float, list, tuple, dict, set)


class MdpoError(Exception):
    """Anything that this package reports to its user in one readable message."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a recipe or its data.

    ``where`` is what a user can open or look up: ``recipe.yaml:14``, ``pairs.json row 3``; ``path`` is the YAML
    path, empty where there is none.
    """

    where: str
    path: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.path, self.message) if part)


@contextmanager
def blame_on(source: str) -> Iterator[None]:
    """Add a note to an error from a plugin's code that says where it came from: ``the tracker 'csv'``."""
    try:
        yield
    except MdpoError:
        raise
    except Exception as error:
        error.add_note(f"(in {source})")
        raise


class _Problems(MdpoError):
    """An error that carries every problem found, so that a user mends them all at once."""

    def __init__(self, problems: Sequence[Problem] | str) -> None:
        found = [Problem("", "", problems)] if isinstance(problems, str) else list(problems)
        self.problems: tuple[Problem, ...] = tuple(found)
        super().__init__("\n".join(str(problem) for problem in found))


class RecipeError(_Problems):
    """The recipe asks for something that does not exist or does not fit together."""


class DataError(_Problems):
    """A row, an image or a model folder is missing, damaged or unusable."""


class PluginError(MdpoError):
    """A plugin cannot be loaded, or broke its contract."""


class CheckpointError(MdpoError):
    """A checkpoint cannot be written, or is damaged, or belongs to another run."""


def suggestion(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the known word nearest to ``word``, or nothing if none is near."""
    near = difflib.get_close_matches(str(word), list(known), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def shown(value: object) -> str:
    """A value that is not what it should be, in a few words: ``the str 'high'``."""
    if value is None:
        return "None"
    name = type(value).__name__
    return f"the {name} {short(value)}" if type(value) in _PLAIN else f"a value of type {name}"
