"""Lines that tell how far a run is, for a terminal of any width."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import TextIO

from mdpo_core.words.not_yet import NOT_YET, is_not_yet

_COMMAND = "resume with: "
_LABEL, _LABEL_WIDTH = re.compile(r"  \w+ +(?=\S)"), 13
_NO_BREAK = "\u00a0"
_BAR = 24  # columns of the longest bar


def clock(seconds: float) -> str:
    """``0:42``, ``12:05`` or ``3:01:07``: minutes and seconds, after hours if there are any."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def stage_line(stage: str, done: int, total: int, seconds: float, first: int, width: int, bar: str = "━") -> str:
    """How far a stage is, that began ``seconds`` ago with ``first`` of its work done before: bar, rate, time left.

    A stage of one piece of work has none of these.
    """
    if total <= 1:
        return f"{stage} ..."[:width]
    rate = (done - first) / seconds if seconds > 0 else 0.0
    numbers = f"{done:,}/{total:,}"
    if rate > 0:
        numbers += f"  {_rounded(rate)}/s  {clock((total - done) / rate)} left"
    room = min(_BAR, width - len(stage) - len(numbers) - 4)
    drawn = f"{bar * (room * done // total):<{room}}  " if room >= 4 else ""
    return f"{stage}  {drawn}{numbers}"[:width]


def training_line(
    step: int, total: int, left: float | None, metrics: Mapping[str, float], labels: Sequence[str], width: int
) -> str:
    """Step, seconds left, loss, and of each term its accuracy and margin, or its loss: what fits into ``width``.

    ``labels``: of the terms, in the order of the recipe.
    """
    count = f"{step:>{len(str(total))}}/{total}"  # lines that follow each other are aligned
    time = [] if left is None else [f"{clock(left)} left"]
    loss = [f"loss {metrics['loss']:.3f}"] if "loss" in metrics else []
    compared = [label for label in labels if f"rewards/accuracy/{label}" in metrics]
    full = [_term(label, metrics, margin=True) for label in labels if label in compared or f"loss/{label}" in metrics]
    margins = [_term(label, metrics, margin=True) for label in compared]
    short = [_term(label, metrics, margin=False) for label in compared]
    found = ["  ".join([count, *time, *loss, *terms]) for terms in (full, margins, short, short[:1], [])]
    return next((line for line in found if len(line) <= width), count[:width])


def _term(label: str, metrics: Mapping[str, float], *, margin: bool) -> str:
    accuracy, distance = (metrics.get(f"rewards/{kind}/{label}") for kind in ("accuracy", "margin"))
    if is_not_yet(f"rewards/accuracy/{label}", metrics):
        return f"{label} {NOT_YET}"
    if accuracy is None:
        return f"{label} {metrics[f'loss/{label}']:.2f}"
    return f"{label} {accuracy:4.0%}" + (f" {distance:+.2f}" if margin and distance is not None else "")


def wrapped(text: str, width: int) -> str:
    """``text`` in lines of ``width`` columns; those after the first are indented. A longer word stays whole.

    Below a label, such as that of ``  steps      6 steps``, the other lines stand below what follows it. Words with a
    no-break space between them stay on one line, where a space is printed.
    """
    label = _LABEL.match(text)
    indent = " " * (label.end() if label and label.end() == _LABEL_WIDTH else 2)
    lines = textwrap.wrap(
        text, max(width, 20), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(lines).replace(_NO_BREAK, " ")


def fitted(message: str) -> str:
    """An error message in lines that fit the terminal, if it goes to one. A command stays whole, to be copied."""
    return _wrapped_for(sys.stderr, message)


def told(message: str) -> str:
    """The same of a message for standard output."""
    return _wrapped_for(sys.stdout, message)


def _wrapped_for(stream: TextIO, message: str) -> str:
    if not stream.isatty():
        return message
    width = shutil.get_terminal_size().columns
    return "\n".join(line if _COMMAND in line else wrapped(line, width) for line in message.splitlines())


def _rounded(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
