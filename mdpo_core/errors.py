"""Errors by their cause (recipe, plugin, data, checkpoint), and helpers for their messages."""

from __future__ import annotations

import difflib
import errno
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from reprlib import repr as short
from traceback import walk_tb
from types import FrameType

from mdpo_core.words.amounts import counted

# The packages between the library and a plugin's code.
_CALLERS = (__name__.partition(".")[0], "pluggy", "pydantic", "torch", "importlib")
# How notes begin: whose code raised an error, and where if the traceback stayed in another process.
_NOTE, _PLACE = "(in ", "(at "
_VALUES = re.compile(r"'[^']*'|\"[^\"]*\"|\d+(\.\d+)?")  # what differs between problems of one kind
_PLURAL = re.compile(r"s\b")  # 1 image, 2 images
# Nobody mistypes a longer name, and comparing such names takes long.
_LONGEST_NAME = 60
# Messages show the values of these types; of other types only the name.
_SHOWN_BY_VALUE = (str, bytes, int, float, list, tuple, dict, set)
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EIO, errno.ESTALE)


class MdpoError(Exception):
    """Base class of all errors that mdpo reports to its user with a readable message and no traceback."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a recipe or its data.

    ``where``: what a user can open or look up, such as ``recipe.yaml:14`` or ``pairs.json row 3``. ``path``: the path
    in the YAML, such as ``objective.1.beta``; empty if there is none. ``message``: what was found and what would work.
    """

    where: str
    path: str
    message: str

    def at(self, place: str) -> Problem:
        """The problem with a row's place, unless its own place begins with that, or is a line of the same file."""
        file, _, _ = place.rpartition(" row ")
        line = re.escape(file) + r":\d" if file else "(?!)"
        if re.match(rf"{re.escape(place)}(?!\d)|{line}", self.where):
            return self
        return replace(self, where=f"{place}, {self.where}" if self.where else place)

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.path, self.message) if part)


def by_frequency(problems: Collection[Sequence[Problem]], few: int = 3) -> list[Problem]:
    """The problems of rows by their kind: each row's own ones, up to ``few`` of a kind, or one with the number of rows.

    Kinds with more rows come first, the most frequent one first. Problems are of one kind if they differ in numbers
    and quoted words alone.
    """
    first: dict[str, Problem] = {}
    counts: Counter[str] = Counter()
    for of_row in problems:
        kinds = {_kind_of(each): each for each in reversed(of_row)}
        counts.update(kinds.keys())
        first = kinds | first
    many = [(kind, count) for kind, count in counts.most_common() if count > few]
    repeated = [Problem("", "", f"{counted(count, 'time')}, first in {first[kind]}") for kind, count in many]
    return [*repeated, *(each for of_row in problems for each in of_row if counts[_kind_of(each)] <= few)]


def _kind_of(problem: Problem) -> str:
    return _PLURAL.sub("", _VALUES.sub("", problem.message))


@contextmanager
def blame_on(source: str) -> Iterator[None]:
    """The boundary around a plugin's code, which runs inside the ``with``.

    Adds a note with ``source`` to its errors, which names the code: ``the tracker 'csv'``. Raises `PluginError` if the
    code ends the process, as ``sys.exit()`` does: the run would stop in the middle, and nobody would know.
    """
    try:
        yield
    except (MdpoError, KeyboardInterrupt, GeneratorExit):
        raise
    except Exception as error:
        error.add_note(f"{_NOTE}{source})")
        raise
    except BaseException as error:
        raise PluginError(f"{source} {raised(error)}; a plugin must not end the process, but raise an error") from error


def fault_of_plugin(error: BaseException) -> str | None:
    """One line for an error that passed `blame_on`: whose code raised what, and where; None for other errors."""
    source = _noted(error, _NOTE)
    return None if source is None else f"{source} {raised(error)}"


def put_before_source(words: str, error: Exception) -> None:
    """Put words before the source that `blame_on` noted, such as the section that the code worked for."""
    notes = getattr(error, "__notes__", [])
    notes[:] = [f"{_NOTE}{words}{note[len(_NOTE) :]}" if note.startswith(_NOTE) else note for note in notes]


def notes_to_send(error: BaseException) -> tuple[str, ...]:
    """The notes of an error that travels to another process, and the place of a plugin's fault: a traceback stays."""
    place = None if _noted(error, _NOTE) is None else place_of_plugin(error)
    own = tuple(getattr(error, "__notes__", ()))
    return own if place is None or _noted(error, _PLACE) else (*own, f"{_PLACE}{place})")


def _noted(error: BaseException, kind: str) -> str | None:
    """The content of the first note of a kind, which is that of the innermost code; None without one."""
    notes = getattr(error, "__notes__", ())
    return next((note.removeprefix(kind)[:-1] for note in notes if note.startswith(kind)), None)


class _Problems(MdpoError):
    """An error with all problems, so that a user can fix them at once; they are in its attribute ``problems``."""

    def __init__(self, problems: Sequence[Problem] | str) -> None:
        self.problems: tuple[Problem, ...] = (
            (Problem("", "", problems),) if isinstance(problems, str) else tuple(problems)
        )
        super().__init__("\n".join(str(problem) for problem in self.problems))


class RecipeError(_Problems):
    """The recipe asks for something that does not exist, or its options contradict each other."""


class DataError(_Problems):
    """A row, an image or a model folder is missing, damaged or not usable."""


class PluginError(MdpoError):
    """A plugin cannot be loaded, or broke its contract."""


class CheckpointError(MdpoError):
    """A checkpoint cannot be written, is damaged, or belongs to another run."""


def raised(error: BaseException) -> str:
    """``raised KeyError: 'x' (mine.py:31)``: an error of a plugin's code, and the line of this code, for messages."""
    what = f"called sys.exit({error.code!r})" if isinstance(error, SystemExit) else f"raised {_named(error)}"
    place = place_of_plugin(error)
    return what if place is None else f"{what} ({place})"


def place_of_plugin(error: BaseException) -> str | None:
    """``mine.py:31``: the line of a plugin's code that an error went through; None if it went through no such code."""
    noted = _noted(error, _PLACE)
    if noted is not None:
        return noted
    places = [(_package(frame), frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)]
    plugin = next((package for package, _, _ in places if package not in _CALLERS), None)
    # What the plugin calls, such as torch, is not where the mistake is.
    own = [f"{Path(file).name}:{line}" for package, file, line in places if package == plugin]
    return own[-1] if own else None


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {first_line(error)}" if text_of(error) else type(error).__name__


def is_shortage(error: BaseException) -> bool:
    """Whether an error is about the machine, which lacks file handles or space, and not about the data."""
    return isinstance(error, OSError) and error.errno in _SHORTAGES


def first_line(error: BaseException) -> str:
    """The first line of an error's message; the name of its class if it has no message."""
    return next(iter(text_of(error).splitlines()), type(error).__name__)


def text_of(error: BaseException) -> str:
    """An error's message; empty if the error cannot tell it, as that of a plugin may not."""
    try:
        return str(error)
    except Exception:  # the plugin's own __str__
        return ""


def suggestion(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` with the known word that is most similar to ``word``; empty if none is similar."""
    near = difflib.get_close_matches(str(word), list(known), n=1) if len(str(word)) <= _LONGEST_NAME else []
    return f"; did you mean '{near[0]}'?" if near else ""


def shown(value: object) -> str:
    """A short description of a wrong value, for messages: ``the str 'high'``, ``a value of type Tensor``."""
    if value is None:
        return "None"
    name = type(value).__name__
    return f"the {name} {short(value)}" if type(value) in _SHOWN_BY_VALUE else f"a value of type {name}"


def absent(path: Path, kind: str = "file") -> str:
    """What is wrong with a path that is not a ``kind``, a file or a folder, with the nearest name in its folder."""
    if path.exists():
        return f"'{path}' is not a {kind}"
    others = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
    return f"the {kind} '{path}' does not exist{suggestion(path.name, others) or '; check the path'}"
