"""Lines of a run fit every terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdpo_core.cli.terminal.lines import clock, stage_line, training_line, wrapped
from mdpo_core.words.amounts import duration
from mdpo_core.words.not_yet import is_not_yet

MDPO = {
    "epoch": 0.5,
    "loss": 1.2345,
    "loss/text": 0.61,
    "loss/picture": 0.32,
    "loss/anchor": 0.648,
    "rewards/chosen": 0.08,
    "rewards/accuracy/text": 0.8125,
    "rewards/margin/text": 0.124,
    "rewards/accuracy/picture": 0.92,
    "rewards/margin/picture": 0.301,
}
LABELS = ("text", "picture", "anchor")
FLOATS = st.floats(-1e6, 1e6)


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (80, " 75/150  0:42 left  loss 1.234  text  81% +0.12  picture  92% +0.30  anchor 0.65"),
        (79, " 75/150  0:42 left  loss 1.234  text  81% +0.12  picture  92% +0.30"),
        (60, " 75/150  0:42 left  loss 1.234  text  81%  picture  92%"),
        (50, " 75/150  0:42 left  loss 1.234  text  81%"),
        (30, " 75/150  0:42 left  loss 1.234"),
        (10, " 75/150"),
    ],
)
def test_a_step_says_what_fits(width: int, line: str) -> None:
    assert training_line(75, 150, 42.3, MDPO, LABELS, width) == line


def test_an_accuracy_before_any_answer_has_a_reward_is_not_yet_one() -> None:
    first = {"loss": 2.079, "rewards/accuracy/text": 0.0, "rewards/margin/text": 0.0, "rewards/accuracy/picture": 0.0}
    assert training_line(1, 15, None, first, LABELS, 80) == " 1/15  loss 2.079  text not yet  picture not yet"
    wrong = {**first, "rewards/margin/text": -0.02}
    assert training_line(2, 15, None, wrong, LABELS, 80) == " 2/15  loss 2.079  text   0% -0.02  picture not yet"


@pytest.mark.parametrize(
    ("name", "metrics", "expected"),
    [
        ("eval/preference/rewards/accuracy/text", {"eval/preference/rewards/margin/text": 0.0}, True),
        ("eval/preference/rewards/accuracy/text", {"eval/preference/rewards/margin/text": -1.0}, False),
        ("eval/preference/rewards/accuracy/text/cats", {"eval/preference/rewards/margin/text/cats": -1.0}, False),
        ("eval/probe/accuracy", {"eval/probe/chosen": 0.0}, True),
        ("eval/probe/accuracy/without", {"eval/probe/chosen": 0.0}, True),
        ("eval/probe/accuracy", {"eval/probe/chosen": -2.0}, False),
        # After steps, a mean reward may be 0 by chance, but not under each condition.
        ("eval/probe/accuracy", {"eval/probe/chosen": 0.0, "eval/probe/chosen/without": 0.5}, False),
        ("eval/probe/accuracy/crop", {"eval/probe/chosen": 0.0, "eval/probe/chosen/crop": -0.5}, False),
        ("eval/probe/accuracy/crop", {"eval/probe/chosen": 0.0, "eval/probe/chosen/crop": 0.0}, True),
        ("eval/preference/logps/accuracy/picture", {}, False),
        ("eval/benchmark/pope/accuracy", {}, False),
    ],
)
def test_only_accuracies_of_rewards_can_be_not_yet(name: str, metrics: dict[str, float], expected: bool) -> None:
    assert is_not_yet(name, {**metrics, name: 0.0}) is expected
    assert not is_not_yet(name, {**metrics, name: 0.5})


@given(
    st.integers(1, 10**7),
    st.integers(1, 10**7),
    st.none() | st.floats(0, 1e6),
    st.dictionaries(st.sampled_from(sorted(MDPO)), FLOATS),
    st.integers(8, 200),
)
def test_a_step_fits_any_width(
    step: int, total: int, left: float | None, metrics: dict[str, float], width: int
) -> None:
    line = training_line(step, total, left, metrics, LABELS, width)
    assert len(line) <= width
    assert line.lstrip().startswith(f"{step}/{total}"[: len(line.lstrip())])


@given(st.sampled_from(["checking data", "caching the reference"]), st.integers(0, 10**6), st.data())
def test_a_stage_fits_any_width(stage: str, total: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, total))
    done, width = data.draw(st.integers(first, total)), data.draw(st.integers(8, 200))
    line = stage_line(stage, done, total, data.draw(st.floats(0, 1e5)), first, width)
    assert len(line) <= width
    assert line.startswith(stage[:width])


def test_a_stage_has_a_rate_of_its_own_work() -> None:
    shown = stage_line("checking data", 600, 1000, 10.0, 100, 80, "=")
    assert shown == f"checking data  {'=' * 14:<24}  600/1,000  50/s  0:08 left"
    assert stage_line("loading the model", 0, 1, 3.0, 0, 80) == "loading the model ..."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "  steps      3 steps of 4 rows, learning rate",
            "  steps      3 steps of 4 rows,\n             learning rate",
        ),
        ("  evaluators preference, samples; writes", "  evaluators preference, samples;\n             writes"),
        ("  not looked at: the weights of the model", "  not looked at: the weights of the\n  model"),
    ],
)
def test_what_follows_a_label_stands_below_itself(text: str, expected: str) -> None:
    assert wrapped(text, 36) == expected


def test_what_a_no_break_space_joins_stays_on_one_line() -> None:
    assert (
        wrapped("loss\u00a00.693  rewards/accuracy\u00a0not\u00a0yet", 26) == "loss 0.693\n  rewards/accuracy not yet"
    )


@pytest.mark.parametrize(
    ("seconds", "words", "digits"),
    [(0.04, "0.0 s", "0:00"), (9.96, "10 s", "0:10"), (59.6, "1 min 0 s", "1:00"), (185, "3 min 5 s", "3:05")],
)
def test_times_are_short(seconds: float, words: str, digits: str) -> None:
    assert (duration(seconds), clock(seconds)) == (words, digits)
    assert (duration(3600 * 5 + 63), clock(3600 * 5 + 63)) == ("5 h 1 min", "5:01:03")


def test_long_lines_are_broken_between_numbers() -> None:
    text = "evaluated after step 20: preference: loss 0.930  accuracy/text 1.000  accuracy/picture 1.000"
    assert wrapped(text, 60).splitlines() == [
        "evaluated after step 20: preference: loss 0.930",
        "  accuracy/text 1.000  accuracy/picture 1.000",
    ]
