"""The lines of a GPU's measurements as Markdown: tables, and the targets beside what was reached."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.speed.bars import Bar

Line = Mapping[str, Any]
_MDPO = 3  # terms


def read(file: Path) -> list[Line]:
    """All lines; a line that was cut off when a process was ended is left out."""
    lines = []
    for text in file.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines


def of_last_device(lines: Sequence[Line]) -> list[Line]:
    """The lines of the device and the shape that were measured last: a file may hold rehearsals, too."""
    return [line for line in lines if _where(line) == _where(lines[-1])]


def left_out(lines: Sequence[Line]) -> str:
    """A sentence about the lines that `of_last_device` leaves out; empty if there are none."""
    others = Counter(_where(line) for line in lines if _where(line) != _where(lines[-1]))
    named = ", ".join(f"{number} of {where}" for where, number in others.items())
    return f"Lines of other devices or shapes, which are left out: {named}." if named else ""


def _where(line: Line) -> str:
    return f"{line.get('device', 'an unknown device')} with {line.get('shape', 'an unknown shape')}"


def page(lines: Sequence[Line]) -> str:
    """Tables of what was measured, the targets, and what was skipped or failed."""
    parts = [_machine(lines), _steps(lines), _memory(lines), _runs(lines), _targets(lines), _rest(lines)]
    return "\n\n".join(part for part in parts if part)


def _of(lines: Iterable[Line], *stages: str, having: str) -> list[Line]:
    return [line for line in lines if line["stage"] in stages and having in line]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    made = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *made]) if made else ""


def _number(line: Line, name: str, form: str) -> str:
    return f"{line[name]:{form}}" if isinstance(line.get(name), (int, float)) else ""


def _rate(lines: Sequence[Line]) -> float | None:
    """The best of what the device's own matrix product did, in TFLOP/s."""
    return max((line["matrix_tflops"] for line in _of(lines, "machine", having="matrix_tflops")), default=None)


def _machine(lines: Sequence[Line]) -> str:
    found = _of(lines, "machine", having="name")
    if not found:
        return ""
    named = ", ".join(f"{name} {version}" for name, version in found[-1]["versions"].items() if version)
    return (
        f"{found[-1]['name']}; {named}. Its own matrix product: {_rate(lines):.3g} TFLOP/s; "
        f"copies: {found[-1]['copy_gb_s']:.0f} GB/s."
    )


def _steps(lines: Sequence[Line]) -> str:
    head = ("step", "pairs", "seconds", "pairs/s", "TFLOP/s", "of the matrix product", "allocated, GB", "reserved, GB")
    rate = _rate(lines)

    def rows() -> Iterator[list[str]]:
        for line in _of(lines, "steps", "recomputed", "compiled", "two_views", "paper", "trl", having="seconds"):
            share = f"{line['tflops'] / rate:.3f}" if rate and "tflops" in line else ""
            times = _numbers(line, {"seconds": ".3f", "pairs_per_second": ".2f", "tflops": ".3g"})
            memory = _numbers(line, {"allocated_gb": ".1f", "reserved_gb": ".1f"})
            yield [_name(line), str(line["pairs"]), *times, share, *memory]

    return _table(head, rows())


def _name(line: Line) -> str:
    if "terms" not in line:
        return {"paper": "the paper's algorithm", "trl": "TRL's DPOTrainer, two views"}[line["stage"]]
    parts = ["ours" if line["terms"] == _MDPO else "ours, two views", line["attention"]]
    parts += [f"recomputed: {line['recompute']}"] if line["recompute"] != "off" else []
    parts += ["compiled"] if line["compile"] else []
    parts += ["reference in each step"] if line["reference"] != "cached" else []
    return ", ".join(parts + ([] if line["dropout"] else ["no dropout"]))


def _memory(lines: Sequence[Line]) -> str:
    forms = {"estimate_gb": ".2f", "counted_gb": ".2f", "apart": "+.1%"}
    found = _of(lines, "memory", having="estimate_gb")
    return _table(
        ("estimate of memory", "pairs", "estimated, GB", "counted, GB", "apart"),
        ([_name(line), str(line["pairs"]), *_numbers(line, forms)] for line in found),
    )


def _runs(lines: Sequence[Line]) -> str:
    forms = {"loss": ".4f", "pairs_per_second": ".1f", "mfu": ".1%", "memory_gb": ".2f"}
    found = _of(lines, "quickstart", "zero", having="steps")
    return _table(
        ("quickstart", "steps", "first loss", "last loss", "pairs/s", "mfu", "memory, GB"),
        (
            [line["what"], str(line["steps"]), _number(line, "first_loss", ".4f"), *_numbers(line["last"], forms)]
            for line in found
        ),
    )


def _numbers(line: Line, forms: Mapping[str, str]) -> list[str]:
    return [_number(line, name, form) for name, form in forms.items()]


def _targets(lines: Sequence[Line]) -> str:
    return "\n".join(
        ["| figure | measured | target | |", "|---|---|---|---|", *(each.row() for each in targets(lines))]
    )


@dataclass(frozen=True)
class Target:
    """A limit, and the figure that must keep it; None: it was not measured."""

    name: str
    figure: float | None
    limit: float
    at_least: bool = False

    @property
    def bar(self) -> Bar:
        return Bar(self.name, math.nan if self.figure is None else self.figure, self.limit, self.at_least)

    def row(self) -> str:
        return self.bar.row() if self.figure is not None else _unmeasured(self.bar.row())


def _unmeasured(row: str) -> str:
    _, name, _, target, _, _ = row.split("|")
    return f"|{name}| |{target}| not measured |"


def targets(lines: Sequence[Line]) -> list[Target]:
    """Those of the day on which a GPU is there."""
    ours, two_views = (_seconds(_plain(lines, stage)) for stage in ("steps", "two_views"))
    paper, trl = (_seconds(_of(lines, stage, having="seconds")) for stage in ("paper", "trl"))
    rate = _rate(lines)
    shares = [line["tflops"] / rate for line in _of(lines, "steps", "compiled", having="tflops")] if rate else []
    apart = [abs(line["apart"]) for line in _of(lines, "memory", having="apart")]
    return [
        _ratio("three-view step over the paper's algorithm", ours, paper, 0.50),
        _ratio("three-view step over TRL's two-view step", ours, trl, 0.75),
        _ratio("our two-view DPO over TRL's", two_views, trl, 0.40),
        Target("best micro-batch over the device's own matrix product", max(shares, default=None), 0.65, at_least=True),
        Target("memory from the estimate, at most", max(apart, default=None), 0.03),
    ]


def _plain(lines: Sequence[Line], stage: str) -> list[Line]:
    """Our own step: FlexAttention where there is a GPU, and a cached reference."""
    found = _of(lines, stage, having="seconds")
    return [line for line in found if (line["attention"], line["reference"]) == ("auto", "cached")]


def _seconds(lines: Iterable[Line]) -> dict[int, float]:
    return {line["pairs"]: line["seconds"] for line in lines}


def _ratio(name: str, ours: Mapping[int, float], other: Mapping[int, float], limit: float) -> Target:
    """With the most pairs that both have run."""
    both = ours.keys() & other.keys()
    if not both:
        return Target(name, None, limit)
    return Target(f"{name}, {max(both)} pairs", ours[max(both)] / other[max(both)], limit)


def _rest(lines: Sequence[Line]) -> str:
    found = [
        f"- {line['stage']}{_what(line)}: {kind}, {line[kind]}"
        for line in lines
        for kind in ("skipped", "failed")
        if kind in line
    ]
    return "\n".join(["Not measured:", "", *found]) if found else ""


def _what(line: Line) -> str:
    named = line.get("what") or (f"{line['pairs']} pairs" if "pairs" in line else line.get("attention"))
    return f" ({named})" if named else ""
