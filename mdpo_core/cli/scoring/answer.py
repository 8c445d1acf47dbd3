"""`mdpo answer`: a model answers the questions of a benchmark."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from mdpo_core.cli.arguments import count, not_negative, share_or_all
from mdpo_core.cli.scoring.server import add_server_options, require_server, server_model
from mdpo_core.words.amounts import counted

if TYPE_CHECKING:
    from mdpo_core.benchmarking.models import LocalModel
    from mdpo_core.interfaces.model import Decoding

HELP = "let a model answer the questions of a benchmark"
_MOST = 1024  # tokens, as in LLaVA-1.5's own evaluations


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the options of `mdpo answer`; those of each benchmark are its own."""
    command.add_argument(
        "benchmark", metavar="BENCHMARK", help="its name; mdpo plugins benchmark NAME shows its options"
    )
    asked = command.add_mutually_exclusive_group(required=True)
    asked.add_argument("--model", type=Path, metavar="PATH", help="a run directory, an exported folder, or a recipe")
    asked.add_argument(
        "--server", metavar="URL", help="a server that speaks chat completions, such as http://host:8000/v1"
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
    add_server_options(command)
    command.set_defaults(takes_more=True)


def answer(options: argparse.Namespace) -> int:
    """`mdpo answer`: write a line of JSON for each question."""
    from mdpo_core.benchmarking.answering import Asking, answer_questions
    from mdpo_core.benchmarking.asked import AskedQuestions
    from mdpo_core.cli.scoring.console import ProgressShown
    from mdpo_core.cli.scoring.named import benchmark_from
    from mdpo_core.interfaces.model import Decoding

    if options.server is None:
        require_server(options)
    benchmark = benchmark_from(options)
    decoding = Decoding(options.max_new_tokens, float(options.temperature), float(options.top_p), options.seed)
    asking = Asking(AskedQuestions.of(benchmark, options.images, options.suffix), decoding, options.batch_size)
    model = _local(options.model, decoding) if options.server is None else server_model(options, decoding)
    with ProgressShown():
        written = answer_questions(asking, model, options.out)
    said = counted(len(asking.rows), "answer") if written else "already exists; this command wrote it"
    print(f"{options.out}: {said}{_empty(options.out)}")  # noqa: T201
    print(f"score them: {shlex.join(_scoring(options))}")  # noqa: T201
    return 0


def _local(path: Path, decoding: Decoding) -> LocalModel:
    from mdpo_core.benchmarking.models import local_model

    return local_model(path, decoding)


def _empty(out: Path) -> str:
    """How many of the answers in a file are empty, and the first of them; nothing if there is none."""
    rows = [json.loads(line) for line in out.read_bytes().split(b"\n") if line]
    ids = [row["id"] for row in rows if not row["response"].strip()]
    return f"; {len(ids):,} of them are empty, the first to the question '{ids[0]}'" if ids else ""


def _scoring(options: argparse.Namespace) -> list[str]:
    return ["mdpo", "score", options.benchmark, "--answers", str(options.out), *options.more]
