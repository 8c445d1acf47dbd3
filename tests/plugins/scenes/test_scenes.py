"""The small world of scenes: what is drawn, said and annotated agrees."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mdpo_benchmarks.coco.vocabulary import Vocabulary
from mdpo_scenes import ScenesAdapter
from mdpo_scenes.annotations import held_out_scenes, write_annotations
from mdpo_scenes.drawings import COLORED, DRAWINGS
from mdpo_scenes.evaluator import HELD_OUT
from mdpo_scenes.guesses import guessed_kinds
from mdpo_scenes.pairs import ScenePairs, with_mistakes
from mdpo_scenes.pictures import CELL, draw_picture
from mdpo_scenes.scenes import ACROSS, KINDS, ROOMS, Scene, Thing, companions, draw_scene
from mdpo_scenes.texts import answer, caption, draw_question, mentioned
from PIL import Image
from tokenizers import Tokenizer

scenes = st.integers(0, 2**32).map(lambda seed: draw_scene(random.Random(seed)))


def test_there_are_40_kinds_of_one_word_each_a_category_of_coco() -> None:
    categories = Vocabulary.of_chair().categories
    assert len(KINDS) >= 40
    assert all(categories[kind] == kind and " " not in kind for kind in KINDS)
    assert {kind for pairs in ROOMS.values() for pair in pairs for kind in pair} == set(KINDS)
    assert {"dining table", "person"}.isdisjoint(categories.get(room) for room in ROOMS)


def test_no_two_kinds_look_alike() -> None:
    """Without what varies, the pictures of two kinds differ in many pixels, whatever their colours."""
    drawn = {}
    for kind in DRAWINGS:
        for color in ("red", "blue", "green", "yellow") if kind in COLORED else (None,):
            scene = Scene("office", (Thing(kind, color, 4),), look=7)
            drawn[kind, color] = np.asarray(draw_picture(scene).image, dtype=int)
    for one, first in drawn.items():
        for other, second in drawn.items():
            if one != other:
                assert (np.abs(first - second).max(axis=2) > 40).sum() >= 20, (one, other)


@given(scenes)
@example(draw_scene(random.Random(68)))  # a line at the edge of its square
def test_each_object_changes_its_own_place_and_no_other(scene: Scene) -> None:
    """The square of each object is in the cell of its place, and only cells with objects differ from the empty room."""
    picture = draw_picture(scene)
    empty = np.asarray(draw_picture(Scene(scene.room, (), scene.look)).image, dtype=int)
    changed = np.abs(np.asarray(picture.image, dtype=int) - empty).max(axis=2) > 8
    cells = {thing.place for thing in scene.things}
    for place in range(ACROSS**2):
        top, left = (index * CELL for index in divmod(place, ACROSS))
        assert changed[top : top + CELL, left : left + CELL].any() == (place in cells)
    for thing, square in zip(scene.things, picture.squares, strict=True):
        row, column = divmod(thing.place, ACROSS)
        assert column * CELL <= square.left <= square.left + square.size <= (column + 1) * CELL
        assert row * CELL <= square.top <= square.top + square.size <= (row + 1) * CELL


@given(scenes, st.randoms(use_true_random=False))
def test_what_is_likely_is_absent_and_has_its_companion_there(scene: Scene, rng: random.Random) -> None:
    assert 2 <= len(scene.kinds) <= len(scene.things) <= len({thing.place for thing in scene.things}) <= ACROSS**2
    for kind in scene.likely:
        assert kind not in scene.kinds
        assert any(absent == kind and seen in scene.kinds for absent, seen in companions(scene.room))
    assert set(guessed_kinds(scene, rng)) <= {*scene.kinds, *scene.likely}


@given(scenes, st.integers(0, 1), st.randoms(use_true_random=False))
def test_captions_name_their_kinds_and_mistakes_replace_one_or_two(
    scene: Scene, style: int, rng: random.Random
) -> None:
    assert mentioned(caption(scene.room, scene.kinds, style)) == scene.kinds
    wrong = with_mistakes(scene, rng)
    assert len(wrong) == len(scene.kinds)
    assert 1 <= len(set(wrong) - set(scene.kinds)) <= 2
    assert set(wrong) - set(scene.kinds) <= set(scene.others)


@given(scenes, st.randoms(use_true_random=False))
def test_questions_have_the_answers_that_the_objects_give(scene: Scene, rng: random.Random) -> None:
    """Read from the words of the question."""
    question = draw_question(scene, rng)
    words = question.text.split()
    if question.dimension == "existence":
        assert question.truth == (words[3] in {thing.kind for thing in scene.things})
    else:
        assert question.truth == ((words[2], words[3]) in {(thing.kind, thing.color) for thing in scene.things})


@given(st.integers(0, 10_000), st.sampled_from(["train", "held_out"]))
def test_a_pair_is_reproducible_and_its_responses_disagree(row: int, split: str) -> None:
    pairs = ScenePairs(10_001, 0.95, 0.35, seed=3, split=split)  # type: ignore[arg-type]
    example, again = pairs[row], pairs[row]
    assert (example.prompt, example.responses) == (again.prompt, again.responses)
    assert example.images[0].tobytes() == again.images[0].tobytes()
    chosen, rejected = (example.responses[name] for name in ("chosen", "rejected"))
    if "Describe" in example.prompt:  # type: ignore[operator]
        assert set(mentioned(rejected)) != set(mentioned(chosen))
    else:
        assert {chosen.split()[0], rejected.split()[0]} == {"Yes", "No"}


def test_style_gives_the_chosen_response_away_as_often_as_asked() -> None:
    pairs = ScenePairs(1000, 0.9, 0.5, seed=0, split="train")
    styles = [[_style(pair.responses[name]) for name in ("chosen", "rejected")] for pair in pairs]
    assert 0.85 < sum(chosen < rejected for chosen, rejected in styles) / len(styles) < 0.95
    assert not any(chosen > rejected for chosen, rejected in styles)
    asked = sum(pair.responses["chosen"].startswith(("Yes", "No")) for pair in pairs)
    assert 0.4 < asked / len(pairs) < 0.6


def _style(response: str) -> int:
    return int(response.startswith("i can see") or response in (answer(True, 1), answer(False, 1)))


def test_no_benchmark_scene_is_in_the_pairs() -> None:
    shown = {draw_picture(scene).image.tobytes() for scene in held_out_scenes()}
    assert len(shown) == 200
    for split in ("train", "held_out"):
        pairs = ScenePairs(500, 0.95, 0.35, seed=0, split=split)  # type: ignore[arg-type]
        assert shown.isdisjoint(pair.images[0].tobytes() for pair in pairs)


def test_the_shipped_files_are_those_that_the_command_writes(tmp_path: Path) -> None:
    write_annotations(tmp_path / "new", held_out_scenes())
    made = {file.relative_to(tmp_path / "new"): file for file in (tmp_path / "new").rglob("*") if file.is_file()}
    shipped = {file.relative_to(HELD_OUT): file for file in HELD_OUT.rglob("*") if file.is_file()}
    assert made.keys() == shipped.keys()
    assert sum(file.stat().st_size for file in shipped.values()) <= 1_000_000
    for name, file in made.items():
        if name.suffix == ".png":  # packed in other ways by other versions of zlib
            assert np.array_equal(np.asarray(Image.open(file)), np.asarray(Image.open(shipped[name])))
        else:
            assert file.read_bytes() == shipped[name].read_bytes()


def test_cocos_instances_are_the_objects_of_the_scenes() -> None:
    stored = json.loads((HELD_OUT / "instances_scenes.json").read_text())
    names = {each["id"]: each["name"] for each in stored["categories"]}
    for number, scene in enumerate(held_out_scenes(), 1):
        shown = sorted(names[each["category_id"]] for each in stored["annotations"] if each["image_id"] == number)
        assert shown == sorted(thing.kind for thing in scene.things)


def test_the_model_knows_every_word_that_is_asked_or_said() -> None:
    """An unknown word is one token for all such words, so that questions that differ in it would be the same."""
    known = Tokenizer.from_file(str(ScenesAdapter.base / "tokenizer.json"))
    files = [*HELD_OUT.glob("scenes_pope_*.json"), HELD_OUT / "chair_questions.json"]
    rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    rows += json.loads((HELD_OUT / "amber" / "query" / "query_all.json").read_text())
    asked = [next(row[key] for key in ("text", "question", "query") if key in row) for row in rows]
    said = [each for pair in ScenePairs(300, 0.9, 0.5, seed=0, split="train") for each in pair.responses.values()]
    assert len(asked) > 1500
    assert not [text for text in {*asked, *said} if "<unk>" in known.encode(text).tokens]


@pytest.mark.long
def test_pretraining_takes_the_same_first_steps_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from mdpo_scenes import pretrain

    for name in ("VISION_STEPS", "CHECK_STEPS", "STEPS"):
        monkeypatch.setattr(pretrain, name, 2)
    one, other = (pretrain.pretrain()[0].state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)
