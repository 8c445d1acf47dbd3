"""The probe: what it measures, what it costs, and that it changes nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mdpo_objectives.evaluators.probe import Probe, forwards_a_row
from support.paths import LLAVA_MDPO
from support.processes.launching import contents

from mdpo_core import Corruption, DataError, Example, RowLogProb, RunSize, component, load_recipe, run
from mdpo_core.testing import check_evaluator
from mdpo_core.testing.contracts import _SteadyPolicy

ROWS = [Example(str(number), "what is there ?", {"chosen": "a cat", "rejected": "a dog"}) for number in range(4)]
# Log-probs of chosen and rejected answers: before training, and after it, by condition.
BEFORE = {"clean": [(-5, -5), (-6, -4), (-7, -9), (-3, -3)], "without": [(-9, -9)] * 4, "crop": [(-8, -7)] * 4}
AFTER = {
    "clean": [(-4, -8), (-5, -4), (-8, -9), (-2, -5)],
    "without": [(-8, -9), (-9, -8), (-9, -8), (-9, -8)],
    "crop": [(-8, -8), (-9, -7), (-8, -9), (-8, -7)],
}


class Measured(_SteadyPolicy):
    """A policy of four rows, the last of which has no picture."""

    size = RunSize(num_steps=100, pairs_a_step=8, num_views=3, num_conditions=1)
    held_out = tuple(ROWS)

    def __init__(self, numbers: Mapping[str, Sequence[tuple[int, int]]]) -> None:
        self.numbers = numbers
        self.crop = component("corruption", "random_crop")
        assert isinstance(self.crop, Corruption)
        self.conditions = {"crop": self.crop}

    def log_probs(
        self, examples: Sequence[Example], response: str = "chosen", corruption: Corruption | None = None
    ) -> list[RowLogProb]:
        return self.log_probs_of(examples, (response,), corruption)[response]

    def log_probs_of(
        self, examples: Sequence[Example], responses: Sequence[str], corruption: Corruption | None = None
    ) -> dict[str, list[RowLogProb]]:
        which = "clean" if corruption is None else "crop" if corruption is self.crop else "without"
        columns = {name: ["chosen", "rejected"].index(name) for name in responses}
        return {
            name: [
                RowLogProb(row.id, "", row.id != "3", float(self.numbers[which][int(row.id)][column]), int(row.id) + 1)
                for row in examples
            ]
            for name, column in columns.items()
        }


def test_metrics_are_those_of_a_straight_line(tmp_path: Path) -> None:
    probe = Probe()
    assert probe.evaluate(Measured(BEFORE), tmp_path, 0)["chosen"] == 0
    found = probe.evaluate(Measured(AFTER), tmp_path, 50)
    # Chosen rewards 1, 1, -1, 1 and rejected ones -3, 0, 0, -2.
    assert found["accuracy"] == 3 / 4
    # 1 and 0, 0 and 1, 0 and 1; the fourth row has no picture.
    assert found["accuracy/without"] == pytest.approx(1 / 3)
    # 0 and -1, -1 and 0, 0 and -2.
    assert found["accuracy/crop"] == pytest.approx(2 / 3)
    assert found["gap"] == pytest.approx(3 / 4 - 1 / 3)
    assert found["chosen"] == 1 / 2
    # 1, 0 and 0; the answers have 1, 2, 3 and 4 tokens.
    assert found["chosen/without"] == pytest.approx(1 / 3)
    assert found["logps_per_token"] == pytest.approx((-4 - 5 / 2 - 8 / 3 - 2 / 4) / 4)
    assert found["logps_per_token/crop"] == pytest.approx((-8 - 9 / 2 - 8 / 3) / 3)


def test_a_resumed_run_measures_what_an_unstopped_one_does(tmp_path: Path) -> None:
    unstopped = Probe()
    unstopped.evaluate(Measured(BEFORE), tmp_path, 0)
    assert Probe().evaluate(Measured(AFTER), tmp_path, 50) == unstopped.evaluate(Measured(AFTER), tmp_path, 50)


@pytest.mark.parametrize("content", [None, "{", '{"rows": ["9"], "log_probs": {}}'])
def test_a_lost_beginning_is_said(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "probe.json").write_text(content)
    with pytest.raises(DataError, match=r"probe\.json: (cannot be read|is of other rows)"):
        Probe().evaluate(Measured(AFTER), tmp_path, 50)


KEPT = {"numbers": [0, 2], "ids": ["0", "2"], "log_probs": {"": [[-1.5, -2.0], [-3.0, -4.0]]}}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (None, "No such file or directory"),
        ({"ids": None}, "ids: Input should be a valid array"),
        ({"numbers": ["0", 2]}, "numbers: Input should be a valid integer"),
        ({"log_probs": {"": [[-1.5], [-3.0, -4.0]]}}, "log_probs: Field required"),
        ({"log_probs": {"": KEPT["log_probs"][""][:1]}}, "it does not have the log-probs of all its rows"),
        ({"log_probs": {}}, "it does not have the log-probs of all its rows"),
        ({"ids": ["0"]}, "it does not have the log-probs of all its rows"),
    ],
)
def test_what_later_probes_need_is_asked_for_before_a_run_goes_on(
    change: dict[str, object] | None, reason: str, tmp_path: Path
) -> None:
    file = tmp_path / "probe.json"
    file.write_text(json.dumps(KEPT))
    Probe().require_kept(tmp_path)
    file.unlink() if change is None else file.write_text(json.dumps(KEPT | change))
    with pytest.raises(DataError, match=rf"probe\.json: cannot be read \({reason}\)"):
        Probe().require_kept(tmp_path)


def test_a_beginning_that_is_measured_again_replaces_the_whole_file(tmp_path: Path) -> None:
    Probe().evaluate(Measured(BEFORE), tmp_path, 0)
    file, link = tmp_path / "probe.json", tmp_path / "as_it_was"
    link.hardlink_to(file)
    before = file.read_bytes()
    Probe().evaluate(Measured(AFTER), tmp_path, 0)
    assert link.read_bytes() == before != file.read_bytes()


def test_rows_that_are_not_there_are_said(tmp_path: Path) -> None:
    Probe().evaluate(Measured(BEFORE), tmp_path, 0)
    other = Measured(AFTER)
    other.held_out = tuple(ROWS[:2])
    with pytest.raises(DataError, match=r"probe\.json: is of other rows; begin again in another run directory"):
        Probe().evaluate(other, tmp_path, 50)


def test_without_held_out_rows_some_of_the_training_are_drawn(tmp_path: Path) -> None:
    policy = Measured(BEFORE)
    policy.held_out, policy.trained_on = (), tuple(ROWS)
    drawn = []
    for seed in (0, 0, 1):
        Probe(rows=2, seed=seed).evaluate(policy, tmp_path, 0)
        drawn.append(json.loads((tmp_path / "probe.json").read_text())["ids"])
    assert len(drawn[0]) == 2
    assert drawn[0] == drawn[1] != drawn[2]


@given(
    st.builds(
        RunSize,
        num_steps=st.integers(1, 10**5),
        pairs_a_step=st.integers(1, 512),
        num_views=st.integers(2, 12),
        num_conditions=st.integers(0, 4),
    )
)
def test_a_probe_takes_at_most_two_percent_of_a_run(size: RunSize) -> None:
    probe = Probe()
    every, rows = probe.interval(size), probe.most_rows(size)
    steps = {0, size.num_steps, *(range(0, size.num_steps, every) if every else ())}
    cost = len(steps) * rows * forwards_a_row(size)
    # One row at the start and one at the end are the least that can be asked.
    least = 2 * forwards_a_row(size)
    assert cost <= max(0.015 * 2 * size.num_steps * size.pairs_a_step * size.num_views, least)
    assert 1 <= rows <= 24


def test_it_keeps_the_contract_of_evaluators(tmp_path: Path) -> None:
    check_evaluator(Probe(), _SteadyPolicy(), tmp_path)


@pytest.mark.long
def test_it_changes_no_bit_of_the_weights(changes: list[str], tmp_path: Path) -> None:
    asked = {"with": "[{evaluator: probe, every: 1, rows: 3}]", "without": "[]"}
    dropout = [*changes, "train.epochs=1", "model.lora.dropout=0.1"]
    finals = [
        contents(run(load_recipe(LLAVA_MDPO, [*dropout, f"evaluators={text}", f"output.dir={tmp_path / name}"])).final)
        for name, text in asked.items()
    ]
    weights = [{name: data for name, data in each.items() if name.endswith(".safetensors")} for each in finals]
    assert weights[0] == weights[1]
    assert weights[0]
    records = [json.loads(line) for line in (tmp_path / "with" / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records if "eval/probe/gap" in record] == [0, 1, 2, 3]
