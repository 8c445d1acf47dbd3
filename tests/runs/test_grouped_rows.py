"""`train.group_by`: rows of one prompt share micro-batches, in runs that stop, resume, or read a stream."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.paths import LLAVA_MDPO
from support.processes.launching import contents, launch, require_same_training
from support.runs import stop_after, train

from mdpo_core import Recipe, RecipeError, load_recipe, run
from mdpo_core.data.reading import read_data
from mdpo_core.data.sampler import Sampler
from mdpo_core.memory.longest import num_tokens
from mdpo_core.training import trainer

GROUPED = "train.group_by=prompt"


def num_computed(recipe: Recipe) -> tuple[int, int]:
    """Of an epoch: the tokens that are computed, and the micro-batches that show one prompt alone."""
    checked, builder = read_data(recipe)
    sampler = Sampler.of(recipe.train, checked.lengths, checked.keys)
    tokens = of_one = 0
    for step in range(sampler.steps_per_epoch):
        for part in sampler.micro_batches(step, recipe.train.micro_batch_size):
            batch = builder.build(checked.valid_examples(), part.rows, part.epoch)
            tokens += num_tokens(recipe, batch)
            of_one += len({checked.keys[row] for row in part.rows}) == 1 < len(part.rows)
    return tokens, of_one


def test_a_prompt_of_several_rows_is_computed_once(changes: list[str]) -> None:
    shuffled, grouped = (num_computed(load_recipe(LLAVA_MDPO, [*changes, *more])) for more in ([], [GROUPED]))
    assert grouped[0] < shuffled[0]
    assert grouped[1] > shuffled[1]


def test_every_row_of_a_set_with_repeated_prompts_is_trained_on(changes: list[str]) -> None:
    recipe = load_recipe(LLAVA_MDPO, [*changes, GROUPED])
    checked, _ = read_data(recipe)
    sampler = Sampler.of(recipe.train, checked.lengths, checked.keys)
    assert sampler.groups
    assert max(Counter(checked.keys).values()) > 1, "the rows of this test share prompts"
    rows = [row for step in range(sampler.steps_per_epoch) for row in replace(sampler).rows(step)]
    assert sorted(rows) == list(range(len(checked.rows)))


@pytest.mark.long
def test_a_stopped_and_resumed_run_ends_with_the_same_weights(changes: list[str], tmp_path: Path) -> None:
    words = [*changes, GROUPED]
    whole, stopped = train(words, tmp_path / "whole"), tmp_path / "stopped"
    recipe = load_recipe(LLAVA_MDPO, [*words, f"output.dir={stopped}"])
    stop_after(3, recipe, stopped)
    run(recipe, run_dir=stopped, resume=True)
    assert contents(stopped / "final") == contents(whole / "final")
    assert contents(whole / "final") != contents(train(changes, tmp_path / "shuffled") / "final")


@pytest.mark.nightly(reason="rows are split over processes as without groups, which resume in both directions")
def test_two_processes_go_on_with_the_groups_of_one(changes: list[str], tmp_path: Path) -> None:
    words = [*changes, GROUPED]
    train(words, tmp_path / "whole")
    stop_after(3, load_recipe(LLAVA_MDPO, [*words, f"output.dir={tmp_path / 'stopped'}"]), tmp_path / "stopped")
    finished = launch(words, tmp_path / "stopped", "--processes", "2", "--resume", recipe=LLAVA_MDPO)
    assert finished.returncode == 0, finished.stderr
    require_same_training(tmp_path / "stopped", tmp_path / "whole", 1e-5)


@pytest.mark.long
def test_a_mixture_stopped_within_an_epoch_goes_on_with_the_same_micro_batches(
    changes: list[str], pairs: Path, photographs: Path, tmp_path: Path
) -> None:
    """Of sources with weights: ten rows that are read twice, and five of ten, in seven steps an epoch."""
    source = f"reader: pairs, path: {pairs}, images: {photographs}"
    sources = f"{{twice: {{{source}, times: 2}}, half: {{{source}, times: 0.5}}}}"
    kept = [change for change in changes if not change.startswith("data.")]
    words = [*kept, f"data={{reader: mixture, sources: {sources}}}", "reference=adapter_off", GROUPED]
    drawn: dict[str, list[Any]] = {"whole": [], "stopped": []}
    forward = trainer.Trainer._micro_step
    name = "whole"

    def noted(self: trainer.Trainer, *arguments: Any) -> None:
        batch = arguments[-1]
        pixels = [part.numpy().tobytes() for image in batch.images for part in image.values()]
        drawn[name].append((batch.ids, dict(batch.digests), pixels))
        forward(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer.Trainer, "_micro_step", noted)
        whole = train(words, tmp_path / "whole")
        name = "stopped"
        recipe = load_recipe(LLAVA_MDPO, [*words, f"output.dir={tmp_path / 'stopped'}"])
        stop_after(9, recipe, tmp_path / "stopped")  # the second step of the second epoch
        assert 0 < len(drawn["stopped"]) < len(drawn["whole"])
        run(recipe, run_dir=tmp_path / "stopped", resume=True)
    assert drawn["stopped"] == drawn["whole"]
    assert contents(tmp_path / "stopped" / "final") == contents(whole / "final")


def test_rows_of_a_stream_come_together_within_a_block(changes: list[str], pairs: Path, tmp_path: Path) -> None:
    """Blocks of six rows, in which three pictures come twice."""
    rows = json.loads(pairs.read_text())
    names = [row["img_path"] for row in rows[:3]]
    twice = [{**rows[number], "img_path": names[number % 3]} for number in range(6)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in twice))
    kept = [change for change in changes if not change.startswith(("data.path", "train.epochs"))]
    more = [f"data.path={file}", "data.streaming=true", "data.shuffle_buffer=6", "train.max_steps=4"]
    drawn: list[tuple[str, ...]] = []
    forward = trainer.Trainer._micro_step

    def noted(self: trainer.Trainer, *arguments: Any) -> None:
        drawn.append(tuple(sorted(arguments[-1].ids)))
        forward(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer.Trainer, "_micro_step", noted)
        train([*kept, *more, "reference=adapter_off", GROUPED], tmp_path / "run")
    assert sorted(drawn[:3]) == sorted(drawn[3:]) == [("1", "4"), ("2", "5"), ("3", "6")]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["train.length_window=2"], "train.length_window brings rows of similar length together instead"),
        (["train.micro_batch_size=1"], "train.micro_batch_size must be 2 or more"),
        (["data.check=none"], "it needs the prompt of every row before training; write check: all in data"),
        (["data.check=0.5"], "it needs the prompt of every row before training; write check: all in data"),
    ],
)
def test_options_that_do_not_go_together_are_refused(changes: list[str], message: str) -> None:
    with pytest.raises(RecipeError) as error:
        load_recipe(LLAVA_MDPO, [GROUPED, *changes])
    assert "train.group_by: " in str(error.value)
    assert message in str(error.value)


def test_only_prompts_group_rows() -> None:
    with pytest.raises(RecipeError, match=r"train\.group_by: input should be 'prompt'"):
        load_recipe(LLAVA_MDPO, ["train.group_by=picture"])
