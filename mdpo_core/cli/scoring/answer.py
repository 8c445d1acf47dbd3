"""`mdpo answer`: a model answers the questions of a benchmark."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from mdpo_core.cli.arguments import count, not_negative, share_or_all

HELP = "let a model answer the questions of a benchmark"
_MOST = 1024  # tokens, as in LLaVA-1.5's own evaluations


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the options of `mdpo answer`; those of each benchmark are its own."""
    command.add_argument(
        "benchmark", metavar="BENCHMARK", help="its name; mdpo plugins benchmark NAME shows its options"
    )
    command.add_argument(
        "--model", type=Path, required=True, metavar="PATH", help="a run directory, an exported folder, or a recipe"
    )
    command.add_argument("--images", type=Path, required=True, metavar="DIR", help="the folder of its pictures")
    command.add_argument(
        "--out", type=Path, required=True, metavar="FILE.jsonl", help="the answers; call a stopped command again"
    )
    command.add_argument("--suffix", default="", metavar="TEXT", help="what follows every question")
    command.add_argument("--batch-size", type=count, default=8, metavar="N", help="questions at a time (default: 8)")
    command.add_argument(
        "--max-new-tokens", type=count, default=_MOST, metavar="N", help=f"of an answer (default: {_MOST})"
    )
    command.add_argument(
        "--temperature", type=not_negative, default=0.0, metavar="T", help="0 takes the likeliest token (default: 0)"
    )
    command.add_argument(
        "--top-p", type=share_or_all, default=1.0, metavar="P", help="draw from tokens that sum to P (default: 1)"
    )
    command.add_argument("--seed", type=int, default=0, metavar="N", help="the seed of drawn tokens (default: 0)")
    command.set_defaults(takes_more=True)


def answer(options: argparse.Namespace) -> int:
    """`mdpo answer`: write a line of JSON for each question."""
    from mdpo_core.benchmarking.answering import Asking, answer_questions
    from mdpo_core.benchmarking.asked import AskedQuestions
    from mdpo_core.benchmarking.models import local_model
    from mdpo_core.cli.scoring.console import ProgressShown
    from mdpo_core.cli.scoring.named import benchmark_from
    from mdpo_core.interfaces.model import Decoding

    benchmark = benchmark_from(options)
    decoding = Decoding(options.max_new_tokens, float(options.temperature), float(options.top_p), options.seed)
    asking = Asking(AskedQuestions.of(benchmark, options.images, options.suffix), decoding, options.batch_size)
    model = local_model(options.model, decoding)
    with ProgressShown():
        written = answer_questions(asking, model, options.out)
    said = f"{len(asking.rows):,} answers" if written else "already exists; this command wrote it"
    print(f"{options.out}: {said}")  # noqa: T201
    print(f"score them: {shlex.join(_scoring(options))}")  # noqa: T201
    return 0


def _scoring(options: argparse.Namespace) -> list[str]:
    return ["mdpo", "score", options.benchmark, "--answers", str(options.out), *options.more]
