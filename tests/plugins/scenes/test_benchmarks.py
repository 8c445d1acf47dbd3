"""CHAIR, POPE and AMBER on the scenes: what is true scores best, what is guessed scores badly."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from mdpo_scenes.annotations import held_out_scenes
from mdpo_scenes.scenes import ROOMS, Scene, in_order
from mdpo_scenes.texts import DESCRIBE, answer, caption
from support.paths import RECIPES

from mdpo_core import Answer, Question, component, load_recipe, run

SCENES = {f"scene_{number:06d}.png": scene for number, scene in enumerate(held_out_scenes(), 1)}


def scored(name: str, said: Callable[[Scene, Question], str]) -> Mapping[str, Any]:
    """The score of what is said about each picture."""
    evaluator = component("evaluator", "scenes", of={"benchmark": name})
    answers = [
        Answer("here", each.id, each.prompt, said(SCENES[each.images[0]], each), {})
        for each in evaluator.asked.questions  # type: ignore[attr-defined]
    ]
    return evaluator.benchmark.score(answers).metrics  # type: ignore[attr-defined,no-any-return]


def true(scene: Scene, question: Question) -> str:
    if question.prompt == DESCRIBE:
        return caption(scene.room, scene.kinds, 0)
    words = question.prompt.split()
    if words[1] == "there":
        return answer(words[3] in {thing.kind for thing in scene.things}, 0)
    return answer((words[2], words[3]) in {(thing.kind, thing.color) for thing in scene.things}, 0)


def guessed(scene: Scene, question: Question) -> str:
    """By the room alone, with a yes to all that is in it."""
    kinds = in_order(kind for pair in ROOMS[scene.room] for kind in pair)
    if question.prompt == DESCRIBE:
        return caption(scene.room, random.Random(question.id).sample(kinds, 4), 0)
    return answer(question.prompt.split()[3] in kinds or question.prompt.split()[1] == "the", 0)


def test_what_is_true_has_perfect_scores() -> None:
    assert scored("chair", true) == {"CHAIRs": 0, "CHAIRi": 0}
    assert scored("pope", true) == {"accuracy": 1, "precision": 1, "recall": 1, "f1": 1, "yes_ratio": 0.5}
    amber = scored("amber", true)
    assert amber["Generative Task"] == {"CHAIR": 0, "Cover": 100, "Hal": 0, "Cog": 0}
    perfect = {"Accuracy": 100, "Precision": 100, "Recall": 100, "F1": pytest.approx(100, abs=0.1)}
    assert [amber[name] for name in ("Descriminative Task", "Exsitence", "State")] == [perfect] * 3


def test_what_is_guessed_by_the_room_scores_badly() -> None:
    chair = scored("chair", guessed)
    assert chair["CHAIRs"] > 0.8
    assert chair["CHAIRi"] > 0.4
    pope = scored("pope", guessed)
    assert (pope["accuracy"], pope["yes_ratio"]) == (0.5, 1)
    amber = scored("amber", guessed)
    assert amber["Generative Task"]["Hal"] > 80
    assert amber["Exsitence"]["Accuracy"] == 0
    assert amber["State"]["Accuracy"] == 50


@pytest.mark.parametrize("name", ["scenes_mdpo", pytest.param("scenes_dpo", marks=pytest.mark.long)])
def test_a_short_run_is_scored_by_all_three(name: str, tmp_path: Path) -> None:
    sizes = ["data.num_pairs=32", "train.batch_size=16", "train.micro_batch_size=16", "validation.num_pairs=16"]
    recipe = load_recipe(RECIPES / f"{name}.yaml", [*sizes, *(f"evaluators.{index}.share=0.05" for index in (1, 2, 3))])
    found = run(recipe, run_dir=tmp_path / "run").evaluations
    for step in (0, 2):
        assert {"eval/scenes/chair/CHAIRi", "eval/scenes/pope/f1", "eval/scenes/amber/Generative Task/Cover"} <= set(
            found[step]
        )


@pytest.mark.nightly(reason="two whole runs; a short one is in the fast group")
@pytest.mark.timeout(1200)
def test_mdpo_describes_better_than_the_base_and_dpo_worse(tmp_path: Path) -> None:
    measured = {}
    for name in ("scenes_mdpo", "scenes_dpo"):
        changes = ["evaluators=[{evaluator: scenes, of: {benchmark: chair}}]", "trackers=[]"]
        measured[name] = run(load_recipe(RECIPES / f"{name}.yaml", changes), run_dir=tmp_path / name).evaluations
    chair = "eval/scenes/chair/CHAIRs"
    mdpo, dpo = measured["scenes_mdpo"], measured["scenes_dpo"]
    assert mdpo[150][chair] < mdpo[0][chair] < dpo[150][chair]
