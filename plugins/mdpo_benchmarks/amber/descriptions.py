"""AMBER's generative part: which nouns of a description name what the picture shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from mdpo_benchmarks.amber.annotations import Picture, Words

AreSimilar = Callable[[str, str], bool]


class Found(NamedTuple):
    """What a description says.

    ``counted``: its nouns that are words of AMBER. ``hallucinated``: those of them that name nothing in the picture.
    ``covered`` and ``likely``: the places of what it names among the picture's objects, and among those that models
    like to add.
    """

    picture: Picture
    nouns: Sequence[str]
    counted: list[str]
    hallucinated: list[str]
    covered: set[int]
    likely: set[int]

    def as_row(self) -> dict[str, Any]:
        """For the file of what was found; `count` reads it."""
        return {
            "nouns": self.nouns,
            "counted": self.counted,
            "hallucinated": self.hallucinated,
            "covered": [self.picture.objects[place] for place in sorted(self.covered)],
            "objects": self.picture.objects,
            "likely": [self.picture.likely[place] for place in sorted(self.likely)],
            "num_likely": len(self.picture.likely),
        }


class _Side(NamedTuple):
    """Words, each with the place of its object: first those that stand for the objects, then the objects themselves."""

    entries: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, objects: Sequence[str], related: Mapping[str, Sequence[str]]) -> _Side:
        others = ((word, place) for place, each in enumerate(objects) for word in related[each])
        return cls((*others, *((each, place) for place, each in enumerate(objects))))

    def equal(self, noun: str) -> set[int]:
        """The place of the first word that equals the noun; empty if none does."""
        return _first(place for word, place in self.entries if word == noun)

    def similar(self, noun: str, are_similar: AreSimilar) -> set[int]:
        """The place of the first word that is similar to the noun; empty if none is."""
        return _first(place for word, place in self.entries if are_similar(noun, word))


def _first(places: Iterable[int]) -> set[int]:
    return set(next(([place] for place in places), []))


def read_description(picture: Picture, nouns: Sequence[str], words: Words, are_similar: AreSimilar) -> Found:
    """What the nouns of a description say about a picture.

    As in the official script, a noun that models like to add marks the first such word that equals it, and the first
    that is similar to it, even if it is similar to what the picture shows, too.
    """
    truth, likely = _Side.of(picture.objects, words.related), _Side.of(picture.likely, words.related)
    counted = [noun for noun in nouns if noun in words.vocabulary]
    found = Found(picture, nouns, counted, [], set(), set())
    for noun in counted:
        if noun in words.safe:
            continue
        shown = truth.equal(noun)
        if not shown:
            found.likely.update(likely.equal(noun), likely.similar(noun, are_similar))
            shown = truth.similar(noun, are_similar)
        found.covered.update(shown)
        if not shown:
            found.hallucinated.append(noun)
    return found


def above(threshold: float, similarity: Callable[[str, str], float]) -> AreSimilar:
    """Whether two words are more similar than the threshold."""
    return cache(lambda noun, word: similarity(noun, word) > threshold)


def count(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """The counters of the official script, without the 0.001 with which it starts each ``num``.

    ``rows``: what was found in answers; those to yes/no questions do not count.
    """
    found = [row for row in rows if "counted" in row]
    return {
        "chair_score": sum(len(row["hallucinated"]) for row in found),
        "chair_num": sum(len(row["counted"]) for row in found),
        "safe_cover_score": sum(len(row["covered"]) for row in found),
        "safe_cover_num": sum(len(row["objects"]) for row in found),
        "hallu_cover_score": sum(len(row["likely"]) for row in found),
        "hallu_cover_num": sum(row["num_likely"] for row in found),
        "non_hallu_score": sum(not row["hallucinated"] for row in found),
        "non_hallu_num": len(found),
    }
