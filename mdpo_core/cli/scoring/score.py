"""`mdpo score`: the score of a file of answers, without a model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdpo_core.words.amounts import counted

if TYPE_CHECKING:
    from mdpo_core.benchmarking.scoring import Result

HELP = "score a model's answers to a benchmark; needs no model"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the options of `mdpo score`; those of each benchmark are its own."""
    command.add_argument(
        "benchmark", metavar="BENCHMARK", help="its name; mdpo plugins benchmark NAME shows its options"
    )
    command.add_argument(
        "--answers", type=Path, metavar="FILE", help="of mdpo answer, the official scripts, lmms-eval or VLMEvalKit"
    )
    command.add_argument("--out", type=Path, metavar="FILE", help="the result.json to write")
    command.add_argument("--by-row", type=Path, metavar="FILE", help="also write what was found in each answer")
    command.set_defaults(takes_more=True)


def score(options: argparse.Namespace) -> int:
    """`mdpo score`: print the metrics, and write them with ``--out``."""
    from mdpo_core.benchmarking.scoring import score_answers
    from mdpo_core.cli.scoring.named import benchmark_from

    result = score_answers(benchmark_from(options), options.answers)
    if options.out is not None:
        result.write(options.out)
    if options.by_row is not None:
        result.write_rows(options.by_row)
    _show(result, options)
    return 0


def _show(result: Result, options: argparse.Namespace) -> None:
    found = result.as_json()
    print(f"{found['benchmark']} ({found['variant']}), {counted(result.num_answers, 'answer')}")  # noqa: T201
    for line in _lines(found["metrics"], "  "):
        print(line)  # noqa: T201
    if result.score.printed:
        print(f"  the official script prints:\n{result.score.printed}")  # noqa: T201
    if found["unparsed"]:
        print(f"  {found['unparsed']:,} could not be parsed")  # noqa: T201
    for warning in result.score.warnings:
        print(f"  note: {warning}")  # noqa: T201
    if options.out is not None:
        print(f"written: {options.out}")  # noqa: T201


def _lines(metrics: dict[str, Any], indent: str) -> list[str]:
    lines: list[str] = []
    width = max(map(len, metrics), default=0)
    for name, value in metrics.items():
        if isinstance(value, dict):
            lines += [f"{indent}{name}", *_lines(value, f"{indent}  ")]
        else:
            shown = f"{value:.4f}" if isinstance(value, float) else str(value)
            lines.append(f"{indent}{name:<{width}}  {shown}")
    return lines
