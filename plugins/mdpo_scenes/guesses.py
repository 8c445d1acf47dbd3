"""What a model says that guesses by what mostly goes together: the base model learns from such captions and answers."""

from __future__ import annotations

import random

from mdpo_scenes.scenes import ROOMS, Scene, in_order
from mdpo_scenes.texts import Question

# How often a kind that is not there is named because its companion is there: the second of a pair, or the first.
_SECOND, _FIRST = 0.65, 0.3
_MISSED = 0.08  # the share of kinds that are left out, and of other answers that are wrong


def added(scene: Scene, rng: random.Random) -> set[str]:
    """The kinds that are not there and that a guess adds."""
    found = set()
    for first, second in ROOMS[scene.room]:
        for absent, seen, share in ((second, first, _SECOND), (first, second, _FIRST)):
            if seen in scene.kinds and absent in scene.others and rng.random() < share:
                found.add(absent)
    return found


def guessed_kinds(scene: Scene, rng: random.Random) -> tuple[str, ...]:
    """The kinds that a caption names: most of those that are there, and some that only go with them."""
    seen = [kind for kind in scene.kinds if rng.random() >= _MISSED] or scene.kinds
    return in_order((*seen, *added(scene, rng)))


def guessed_answer(scene: Scene, asked: Question, rng: random.Random) -> bool:
    """Whether an answer says yes."""
    words = set(asked.text.replace("?", "").split())
    if asked.dimension == "existence" and not asked.truth and words & set(scene.likely):
        return bool(words & added(scene, rng))
    return asked.truth if rng.random() >= _MISSED else not asked.truth
