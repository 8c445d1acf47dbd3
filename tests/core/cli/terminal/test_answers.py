"""Answers before and after a run, as the summary shows them."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from mdpo_core.cli.terminal.answers import answers_before_and_after


def line(step: int, row: int, answer: str, **more: Any) -> dict[str, Any]:
    common = {"held_out": True, "prompt": "USER: <image>\nWhat is\nit?", "chosen": "A dog.", "words": []}
    return {"step": step, "id": f"{row}", "answer": answer, **common, **more}


def test_answers_stand_one_below_the_other() -> None:
    lines = [
        line(0, 1, "a car and a dog", words=["car", "dog"]),
        line(3, 1, "middle"),
        line(6, 1, "A  Dog", words=["dog"]),
    ]
    assert answers_before_and_after(lines, 80) == [
        "answers to 1 of 1 held-out row, before and after 6 steps; [ ] marks words of the",
        "list:",
        "  USER: What is it?",
        "    before  a [car] and a [dog]",
        "    after   A [Dog]",
        "    chosen  A dog.",
    ]


def test_beginning_of_the_answers_stands_before_them() -> None:
    lines = [line(step, 1, "red.", chosen="blue.", beginning="A boat  is ") for step in (0, 6)]
    assert answers_before_and_after(lines, 80)[2:] == [
        "    begun   A boat is",
        "    before  red.",
        "    after   red.",
        "    chosen  blue.",
    ]


def test_a_run_without_steps_has_one_answer() -> None:
    shown = answers_before_and_after([line(0, 1, "", held_out=False)], 80)
    assert shown[0] == "answers to 1 of 1 row of the training (none is held out), before and after 0"
    assert shown[3] == "    answer  (nothing)"


def test_nothing_is_shown_without_answers() -> None:
    assert answers_before_and_after([], 80) == []


@given(st.integers(60, 120), st.lists(st.text(max_size=500), min_size=1, max_size=6))
def test_every_line_fits(width: int, texts: list[str]) -> None:
    lines = [line(step, row, text, prompt=text) for step in (0, 5) for row, text in enumerate(texts)]
    shown = answers_before_and_after(lines, width)
    assert all(cell_len(each) <= width and each.isprintable() for each in shown)
    assert len(shown) <= 3 + 3 * (1 + 3 * 3)
