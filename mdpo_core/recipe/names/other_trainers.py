"""The names that other trainers give to options, so that an unknown option is answered by the one that was meant.

The table is the file ``options.txt`` beside this one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files

TRAINERS: Mapping[str, str] = {
    "transformers": "transformers",
    "trl": "TRL",
    "llamafactory": "LLaMA-Factory",
    "swift": "ms-swift",
}
_COLUMNS = 4


@dataclass(frozen=True)
class OtherName:
    """A line of the table: options of other trainers that mean the same.

    ``names``: a star stands for any letters. ``trainers``: keys of `TRAINERS`. ``keys``: of a recipe; a star is an item
    of a list. Without keys, ``remark`` says what mdpo does instead. ``topic``: the heading above the line.
    """

    topic: str
    names: tuple[str, ...]
    trainers: tuple[str, ...]
    keys: tuple[str, ...]
    remark: str

    def answer(self, name: str) -> str:
        """What to say of ``name``: ```num_train_epochs` is `train.epochs```."""
        return f"`{name}` is {self.meant}" if self.keys else f"`{name}`: {self.remark}"

    @property
    def meant(self) -> str:
        """The keys with the remark, or the remark alone."""
        keys = " and ".join(f"`{key}`" for key in self.keys)
        return "; ".join(filter(None, (keys, self.remark)))


@cache
def other_names() -> Sequence[OtherName]:
    """The table, in its order."""
    text = files(__package__).joinpath("options.txt").read_text(encoding="utf-8")
    found, topic = [], ""
    for line in filter(None, text.splitlines()):
        if line.startswith("## "):
            topic = line.removeprefix("## ")
        elif not line.startswith("#"):
            names, trainers, keys, remark = (part.strip() for part in line.split("|", _COLUMNS - 1))
            found.append(OtherName(topic, tuple(names.split()), tuple(trainers.split()), tuple(keys.split()), remark))
    return tuple(found)


def other_name(name: str) -> OtherName | None:
    """The line that lists ``name``, as it is or by a star; None if no trainer calls an option so."""
    plain = name.removeprefix("--").replace("-", "_")
    exact = (each for each in other_names() if plain in each.names)
    by_star = (each for each in other_names() if any(fnmatchcase(plain, pattern) for pattern in each.names))
    return next(exact, None) or next(by_star, None)


def answer_for(keys: Sequence[str | int]) -> str:
    """What to say of an unknown option at ``keys`` of a recipe: ``; `num_train_epochs` is `train.epochs```.

    Empty if no other trainer has it, or if it would answer with the place itself.
    """
    found = other_name(str(keys[-1])) if keys else None
    if found is None or any(_is_at(key, keys) for key in found.keys):
        return ""
    return f"; {found.answer(str(keys[-1]))}"


def _is_at(key: str, keys: Sequence[str | int]) -> bool:
    parts = key.split(".")
    return len(parts) == len(keys) and all(part in ("*", str(here)) for part, here in zip(parts, keys, strict=True))
