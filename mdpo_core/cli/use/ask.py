"""`mdpo ask`: one answer of a trained model, or two side by side."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mdpo_core.cli.arguments import count, not_negative, share_or_all

HELP = "ask a trained model about a picture"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the options of `mdpo ask`."""
    command.add_argument(
        "run", type=Path, metavar="RUN", help="a run directory, or an exported model such as RUN/final"
    )
    command.add_argument(
        "--prompt", required=True, metavar="TEXT", help="the question; <image> marks a picture's place"
    )
    command.add_argument(
        "--image", action="append", default=[], type=Path, metavar="FILE", help="a picture; give it again for another"
    )
    command.add_argument("--base", action="store_true", help="show the answer of the model before training beside it")
    command.add_argument("--step", type=count, metavar="N", help="the checkpoint after N steps (default: final/)")
    command.add_argument(
        "--base-path", metavar="PATH", help="folder or hub name of the model that was trained, if it was moved"
    )
    _add_decoding(command)


def _add_decoding(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--max-new-tokens", type=count, default=256, metavar="N", help="the most tokens of an answer (default: 256)"
    )
    command.add_argument(
        "--temperature", type=not_negative, default=0.0, metavar="T", help="0 takes the likeliest token (default: 0)"
    )
    command.add_argument(
        "--top-p", type=share_or_all, metavar="P", help="draw from the likeliest tokens that sum to P (default: 1)"
    )
    command.add_argument("--seed", type=int, default=0, metavar="N", help="the seed of the drawn tokens (default: 0)")


def ask_model(options: argparse.Namespace) -> int:
    """`mdpo ask`: print the answer of a trained model, or with ``--base`` two answers side by side."""
    from mdpo_core.cli.use.console import print_side_by_side
    from mdpo_core.errors import RecipeError
    from mdpo_core.interfaces.model import Decoding
    from mdpo_core.use.found import find_trained
    from mdpo_core.use.question import as_example
    from mdpo_core.use.trained import ask

    if options.top_p is not None and options.temperature == 0:
        raise RecipeError("--top-p has no effect at temperature 0; set --temperature, too")
    example = as_example(options.prompt, options.image)
    found = find_trained(options.run, options.step, options.base_path)
    decoding = Decoding(options.max_new_tokens, options.temperature, options.top_p or 1.0, options.seed)
    answers = ask(found, example, decoding, compare=options.base)
    if options.base:
        print_side_by_side(answers)
    else:
        print(answers.trained)  # noqa: T201
    if not answers.trained:
        print("the answer is empty: the model ended it at once", file=sys.stderr)  # noqa: T201
    return 0
