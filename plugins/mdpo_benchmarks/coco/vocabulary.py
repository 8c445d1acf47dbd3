"""The words for COCO's objects, alone and in pairs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mdpo_core import DataError, Problem

SHIPPED_SYNONYMS = Path(__file__).parent / "synonyms.txt"

# Pairs of words that CHAIR reads as one. "stove top oven" has three, so that it is never found.
# fmt: off
_CHAIR_PAIRS = (
    "motor bike", "motor cycle", "air plane", "traffic light", "street light", "traffic signal", "stop light",
    "fire hydrant", "stop sign", "parking meter", "suit case", "sports ball", "baseball bat", "baseball glove",
    "tennis racket", "wine glass", "hot dog", "cell phone", "mobile phone", "teddy bear", "hair drier",
    "potted plant", "bow tie", "laptop computer", "stove top oven",
)
# fmt: on
_NO_OBJECTS = ("home plate", "train track")
# A "baby bird" is no baby, and a "passenger train" no passenger.
_ANIMALS = ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "animal", "cub")
_VEHICLES = ("jet", "train")
_RENAMED = {"bow tie": "tie", "toilet seat": "toilet", "wine glas": "wine glass"}
# What Object HalBench's list has besides CHAIR's.
_REFINED = {"brother": "person", "pedestrian": "person", "coffee table": "dining table", "remote control": "remote"}


class Mention(NamedTuple):
    """A word that names an object of ``category``. ``place``: its index among the words of the caption."""

    word: str
    category: str
    place: int


class Mentions(NamedTuple):
    """The words of a caption with pairs joined, and the objects among them."""

    words: Sequence[str]
    found: Sequence[Mention]


@dataclass(frozen=True)
class Vocabulary:
    """``categories``: each word's category. ``pairs``: pairs of words, and the word that stands for each."""

    categories: Mapping[str, str]
    pairs: Mapping[str, str]

    @classmethod
    def of_chair(cls, path: Path = SHIPPED_SYNONYMS) -> Vocabulary:
        """CHAIR's, from a list of synonyms. A word keeps the blank before it, and is then never found, as in CHAIR."""
        return cls(_categories(path, strip=False), _pairs(_CHAIR_PAIRS))

    @classmethod
    def of_object_halbench(cls, path: Path | None = None) -> Vocabulary:
        """Object HalBench's, from its list, or from CHAIR's and what Object HalBench changes in it."""
        categories = _categories(path or SHIPPED_SYNONYMS, strip=True) | ({} if path else _REFINED)
        return cls(categories, _pairs(word for word in categories if " " in word))

    def mentions(self, words: Sequence[str]) -> Mentions:
        """The objects that the singular words of a caption name."""
        joined, places = self.joined(words)
        return Mentions(joined, self.found(joined, places))

    def joined(self, words: Sequence[str]) -> tuple[list[str], list[int]]:
        """The words with the pairs among them joined, from left to right, and the index of the first word of each."""
        joined, places, index = [], [], 0
        while index < len(words):
            pair = self.pairs.get(" ".join(words[index : index + 2]))
            joined.append(words[index] if pair is None else pair)
            places.append(index)
            index += 1 if pair is None else 2
        return joined, places

    def found(self, words: Sequence[str], places: Sequence[int]) -> list[Mention]:
        """The objects among words. The "seat" of a toilet is no chair.

        As in the official scripts, the places of words after a "seat" that is left out are those of words before them.
        """
        if "toilet" in words and "seat" in words:
            words = [word for word in words if word != "seat"]
        objects = ((word, self.categories.get(word), places[index]) for index, word in enumerate(words))
        return [Mention(word, category, place) for word, category, place in objects if category is not None]

    def pairs_among(self, words: Sequence[str]) -> list[str]:
        """The pairs among words, from left to right, each as the word that stands for it."""
        found, index = [], 0
        while index < len(words):
            pair = self.pairs.get(" ".join(words[index : index + 2]))
            found += [] if pair is None else [pair]
            index += 1 if pair is None else 2
        return found


def _pairs(words: Iterable[str]) -> dict[str, str]:
    pairs = {pair: pair for pair in (*words, *_NO_OBJECTS)}
    pairs |= {f"{age} {animal}": animal for animal in _ANIMALS for age in ("baby", "adult")}
    return {**pairs, **{f"passenger {vehicle}": vehicle for vehicle in _VEHICLES}, **_RENAMED}


def _categories(path: Path, strip: bool) -> dict[str, str]:
    """The category of each word: the first word of its line."""
    categories = {}
    for line in filter(None, map(str.strip, _lines(path))):
        words = [word.strip() if strip else word for word in line.split(", ")]
        categories.update(dict.fromkeys(words, words[0]))
    if not categories:
        raise DataError([Problem(path.name, "", "has no words; each line lists the words for one object")])
    return categories


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise DataError([Problem(path.name, "", "is not UTF-8; save it as UTF-8")]) from error
