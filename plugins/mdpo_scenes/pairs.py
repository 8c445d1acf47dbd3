"""Preference pairs over scenes; a pair is made when it is indexed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mdpo_core import Example, LazyRows
from mdpo_scenes.pictures import draw_picture
from mdpo_scenes.scenes import Scene, draw_scene, in_order
from mdpo_scenes.texts import DESCRIBE, answer, caption, draw_question

Split = Literal["train", "held_out"]


@dataclass(frozen=True)
class ScenePairs(LazyRows):
    """Rows that are computed from the seed and the row's number; nothing is stored.

    ``style_cue``: the share of pairs whose responses differ in style, too. ``questions``: the share of pairs that
    answer a question with yes or no; the others describe the picture.
    """

    num_pairs: int
    style_cue: float
    questions: float
    seed: int
    split: Split

    def __len__(self) -> int:
        return self.num_pairs

    def row(self, number: int) -> Example:
        rng = random.Random(f"{self.split}|{self.seed}|{number}")
        scene = draw_scene(rng)
        chosen_style, rejected_style = 0, 1
        if rng.random() >= self.style_cue:
            chosen_style = rejected_style = rng.randrange(2)
        if rng.random() < self.questions:
            asked = draw_question(scene, rng)
            prompt, chosen, rejected = (
                asked.text,
                answer(asked.truth, chosen_style),
                answer(not asked.truth, rejected_style),
            )
        else:
            prompt = DESCRIBE
            chosen = caption(scene.room, scene.kinds, chosen_style)
            rejected = caption(scene.room, with_mistakes(scene, rng), rejected_style)
        responses = {"chosen": chosen, "rejected": rejected}
        return Example(
            f"{self.split}-{self.seed}-{number}", f"<image>\n{prompt}", responses, (draw_picture(scene).image,)
        )


def with_mistakes(scene: Scene, rng: random.Random) -> tuple[str, ...]:
    """The kinds of a scene, of which one or two are replaced by kinds that are not there: likely ones, if there are."""
    kept, absent = list(scene.kinds), [*_shuffled(scene.likely, rng), *_shuffled(scene.others, rng)]
    number = min(rng.randint(1, 2), len(kept), len(scene.others))
    for index in rng.sample(range(len(kept)), number):
        kept[index] = next(kind for kind in absent if kind not in kept)
    return in_order(kept)


def _shuffled(kinds: Sequence[str], rng: random.Random) -> list[str]:
    return rng.sample(kinds, len(kinds))
