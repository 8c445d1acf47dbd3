"""What is said about scenes: captions, and questions whose answer is yes or no."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal, NamedTuple

from mdpo_scenes.scenes import COLORS, KINDS, Scene

DESCRIBE = "Describe this image."
# Two wordings of one caption, and of one answer: the picture does not tell which one is used.
STYLES = (("a picture of a", "."), ("i can see a", "here ."))
ANSWER_STYLES = ("{}", "{} .")
Dimension = Literal["existence", "state"]


def caption(room: str, kinds: Sequence[str], style: int) -> str:
    """A caption that names kinds; ``style`` is an index of `STYLES`."""
    start, end = STYLES[style]
    named = [with_article(kind) for kind in kinds]
    listed = f"{' , '.join(named[:-1])} and {named[-1]}" if len(named) > 1 else named[0]
    return f"{start} {room} with {listed} {end}"


def answer(yes: bool, style: int) -> str:
    """An answer to a question; ``style`` is an index of `ANSWER_STYLES`."""
    return ANSWER_STYLES[style].format("Yes" if yes else "No")


def with_article(kind: str) -> str:
    """``a cup``, ``an oven``."""
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def mentioned(text: str) -> tuple[str, ...]:
    """The kinds that a caption names, in its order."""
    return tuple(word for word in text.split() if word in KINDS)


class Question(NamedTuple):
    """A question, what it is about, and whether yes is the right answer."""

    text: str
    dimension: Dimension
    truth: bool


def existence(scene: Scene, kind: str) -> Question:
    """Is it there?"""
    return Question(f"Is there {with_article(kind)} in this image?", "existence", kind in scene.kinds)


def color(scene: Scene, kind: str, asked: str) -> Question:
    """Is it red? ``kind``: one of which the scene has one object, and which comes in several colours."""
    [thing] = scene.of_kind(kind)
    return Question(f"Is the {kind} {asked} in this image?", "state", thing.color == asked)


def draw_question(scene: Scene, rng: random.Random) -> Question:
    """A random question. Half of those on existence are about a kind that is there."""
    colored = single_colors(scene)
    if colored and rng.random() < 0.25:
        kind = rng.choice(list(colored))
        return color(scene, kind, colored[kind] if rng.random() < 0.5 else rng.choice(COLORS))
    return existence(scene, rng.choice(scene.kinds if rng.random() < 0.5 else draw_from(scene, rng)))


def single_colors(scene: Scene) -> dict[str, str]:
    """The colour of each object that has one and is the only one of its kind."""
    return {
        thing.kind: thing.color
        for thing in scene.things
        if thing.color is not None and len(scene.of_kind(thing.kind)) == 1
    }


def draw_from(scene: Scene, rng: random.Random) -> Sequence[str]:
    """Absent kinds to choose one from: mostly those that a model that guesses adds, or others of the room, or any."""
    if scene.likely and rng.random() < 0.5:
        return scene.likely
    return scene.others if rng.random() < 0.6 else [kind for kind in KINDS if kind not in scene.kinds]
