"""Scenes: a room and its objects, in 3 x 3 places."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mdpo_scenes.drawings import COLORED, DRAWINGS

# All kinds of objects, in the order in which captions name them.
KINDS = tuple(DRAWINGS)
# The colours of the kinds that come in several.
COLORS = ("red", "blue", "green", "yellow")
# What a room holds: pairs of kinds that are mostly seen together.
ROOMS: Mapping[str, Sequence[tuple[str, str]]] = {
    "kitchen": (("oven", "microwave"), ("sink", "refrigerator"), ("bowl", "cup"), ("toaster", "knife")),
    "meal": (("fork", "knife"), ("bottle", "cup"), ("bowl", "spoon"), ("pizza", "cake"), ("apple", "banana")),
    "street": (("car", "truck"), ("bicycle", "motorcycle"), ("person", "handbag"), ("dog", "umbrella")),
    "park": (("bench", "bird"), ("kite", "frisbee"), ("person", "dog"), ("skateboard", "bicycle")),
    "bedroom": (("bed", "clock"), ("book", "cat"), ("suitcase", "backpack"), ("tie", "vase")),
    "office": (("laptop", "mouse"), ("keyboard", "chair"), ("book", "cup"), ("clock", "backpack")),
    "lounge": (("couch", "cat"), ("tv", "remote"), ("vase", "chair"), ("book", "clock")),
    "farm": (("cow", "sheep"), ("horse", "truck"), ("dog", "bird"), ("apple", "bottle")),
    "beach": (("boat", "surfboard"), ("person", "umbrella"), ("kite", "bird"), ("frisbee", "bottle")),
}
ACROSS = 3  # places in a row, and in a column
_BOTH = 0.5  # the share of pairs of which both kinds are there
_TWICE = 0.5  # the share of scenes with a second object of a kind


@dataclass(frozen=True)
class Thing:
    """An object: its kind, its colour if the kind comes in several, and its place in reading order, from 0."""

    kind: str
    color: str | None
    place: int

    @property
    def column(self) -> int:
        """0 at the left."""
        return self.place % ACROSS


@dataclass(frozen=True)
class Scene:
    """A room and its objects. ``look``: the seed of what varies in its picture."""

    room: str
    things: tuple[Thing, ...]
    look: int

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that are there, each once, in the order of captions."""
        return in_order(thing.kind for thing in self.things)

    def of_kind(self, kind: str) -> list[Thing]:
        """The objects of a kind."""
        return [thing for thing in self.things if thing.kind == kind]

    @property
    def likely(self) -> tuple[str, ...]:
        """The kinds that are not there though their companions are: what a model that guesses adds."""
        return in_order(
            absent for absent, seen in companions(self.room) if seen in self.kinds and absent in self.others
        )

    @property
    def others(self) -> tuple[str, ...]:
        """The kinds of the room that are not there."""
        there = set(self.kinds)
        return in_order(kind for pair in ROOMS[self.room] for kind in pair if kind not in there)


def companions(room: str) -> list[tuple[str, str]]:
    """The pairs of a room in both directions: a kind, and the one that makes a model that guesses think of it."""
    return [pair for a, b in ROOMS[room] for pair in ((b, a), (a, b))]


def in_order(kinds: Iterable[str]) -> tuple[str, ...]:
    """Each kind once, in the order of captions."""
    found = set(kinds)
    return tuple(kind for kind in KINDS if kind in found)


def draw_scene(rng: random.Random) -> Scene:
    """A random room; two or three of its pairs, of each both kinds or one; in half of the scenes one kind twice."""
    room = rng.choice(tuple(ROOMS))
    kinds: dict[str, None] = {}
    for pair in rng.sample(ROOMS[room], rng.randint(2, 3)):
        kinds |= dict.fromkeys(pair if rng.random() < _BOTH else [rng.choice(pair)])
    shown = list(kinds)
    if rng.random() < _TWICE:
        shown.append(rng.choice(shown))
    rng.shuffle(shown)
    places = sorted(rng.sample(range(ACROSS**2), len(shown)))
    things = [Thing(kind, draw_color(kind, rng), place) for kind, place in zip(shown, places, strict=True)]
    return Scene(room, tuple(things), rng.getrandbits(32))


def draw_color(kind: str, rng: random.Random) -> str | None:
    """A random colour for a kind that comes in several; None for another kind."""
    return rng.choice(COLORS) if kind in COLORED else None
