"""The commands that make data: `mdpo generate-rejected` and `mdpo relabel`."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mdpo_core.cli.arguments import count, not_negative, positive, share_or_all, within
from mdpo_core.words.amounts import counted

if TYPE_CHECKING:
    from mdpo_core.errors import RecipeError
    from mdpo_core.interfaces.reader import Reader
    from mdpo_core.make_data.job import NewPairs
    from mdpo_core.recipe.recipe import Recipe

_OUT = "the JSON lines file to write; call a stopped command again to continue"


class Command(NamedTuple):
    """A command that reads a recipe and makes data: its help, its options, and its function."""

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[Recipe, argparse.Namespace], int]


def _generate_rejected_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--condition",
        default="clean",
        metavar="NAME",
        help="the image condition under which the model writes: a corruption of the recipe (default: clean)",
    )
    command.add_argument(
        "--keep",
        type=_keep,
        default="none",
        metavar="HOW",
        help="the part of the chosen answer that the model continues: none; a SHARE of its words, such as 0.5; or "
        "sentences: the beginning of each sentence, after the true sentences before it (default: none)",
    )
    _add_decoding(command)
    command.add_argument(
        "--policy", type=Path, metavar="DIR", help="an exported model, such as final/ of a run (default: the recipe's)"
    )
    command.add_argument("--out", type=Path, required=True, metavar="PAIRS.jsonl", help=_OUT)


def _add_decoding(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--max-new-tokens",
        type=count,
        default=256,
        metavar="N",
        help="the largest number of tokens in an answer (default: 256)",
    )
    command.add_argument(
        "--temperature",
        type=not_negative,
        default=0.0,
        metavar="T",
        help="randomness of the tokens; 0 takes the likeliest one (default: 0)",
    )
    command.add_argument(
        "--top-p",
        type=share_or_all,
        metavar="P",
        help="draw from the likeliest tokens whose probabilities sum to P (default: 1)",
    )


def _relabel_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--candidates", metavar="COLUMN", help="the column with lists of answers (default: the responses of the recipe)"
    )
    command.add_argument(
        "--scores", metavar="COLUMN", help="the column with lists of their scores (default: score by implicit reward)"
    )
    command.add_argument(
        "--policy", type=Path, metavar="DIR", help="an exported model, whose implicit reward is the score"
    )
    command.add_argument(
        "--reference",
        type=Path,
        metavar="DIR",
        help="the model that the policy is compared with (default: the recipe's)",
    )
    command.add_argument("--beta", type=positive, metavar="B", help="reward per nat of log-ratio (default: 0.1)")
    command.add_argument(
        "--min-margin",
        type=not_negative,
        default=0.0,
        metavar="M",
        help="leave out pairs whose scores differ by less (default: 0)",
    )
    command.add_argument(
        "--low-confidence",
        type=share_or_all,
        metavar="SHARE",
        help="write 1 into the column low_confidence for this share of pairs, with the smallest margins",
    )
    command.add_argument("--out", type=Path, required=True, metavar="PAIRS.jsonl", help=_OUT)


def _run_generate_rejected(recipe: Recipe, options: argparse.Namespace) -> int:
    def make() -> NewPairs | None:
        from mdpo_core.make_data.generate_rejected import Generation, generate_rejected

        names = ("condition", "keep", "max_new_tokens", "temperature", "top_p", "policy")
        return generate_rejected(recipe, options.out, Generation(**_options_with_values(options, names)))

    if options.top_p is not None and options.temperature == 0:
        raise _without_effect("--top-p", "at --temperature 0, which always takes the likeliest token")
    return _run_data_job(make, recipe, options)


def _run_relabel(recipe: Recipe, options: argparse.Namespace) -> int:
    def make() -> NewPairs | None:
        from mdpo_core.make_data.relabel import Relabeling, relabel

        names = ("candidates", "scores", "policy", "reference", "beta", "min_margin", "low_confidence")
        return relabel(recipe, options.out, Relabeling(**_options_with_values(options, names)))

    if options.beta is not None and options.scores is not None:
        raise _without_effect("--beta", "with --scores: it only scales the implicit reward")
    return _run_data_job(make, recipe, options)


def _options_with_values(options: argparse.Namespace, names: Sequence[str]) -> dict[str, Any]:
    """The options that have a value on the command line; the others keep the defaults of their dataclass."""
    return {name: value for name in names if (value := getattr(options, name)) is not None}


def _without_effect(option: str, reason: str) -> RecipeError:
    from mdpo_core.errors import RecipeError

    return RecipeError(f"{option} has no effect {reason}; leave it out")


DATA_COMMANDS = {
    "generate-rejected": Command(
        "let a model write the rejected answers", _generate_rejected_arguments, _run_generate_rejected
    ),
    "relabel": Command("make pairs from candidate answers and their scores", _relabel_arguments, _run_relabel),
}


def _run_data_job(make: Callable[[], NewPairs | None], recipe: Recipe, options: argparse.Namespace) -> int:
    from mdpo_core.cli.terminal.console import Console
    from mdpo_core.errors import RecipeError
    from mdpo_core.make_data.job import left_out_lines
    from mdpo_core.processes.world import current_world

    if current_world().size > 1:
        raise RecipeError(f"mdpo {options.command} runs in one process; call it without a launcher")
    with Console(recipe):
        new = make()
    if new is None:
        print(f"{options.out}: already exists; this command wrote it")  # noqa: T201
        return 0
    print(f"{options.out}: {counted(len(new.rows), 'row')}, {sum(new.left_out.values())} left out")  # noqa: T201
    for line in left_out_lines(new.left_out):
        print(line)  # noqa: T201
    if cut_off := sum(not row.columns.get("rejected_by", {}).get("ended", True) for row in new.rows):
        answers = counted(cut_off, "answer was", "answers were")
        print(f"  {answers} cut off at --max-new-tokens (rejected_by.ended is false)")  # noqa: T201
    if new.stale:
        print(f"  columns that describe the old answers and are not read: {', '.join(new.stale)}")  # noqa: T201
    print(f"train on it: {shlex.join(_training(recipe, options, new.reader))}")  # noqa: T201
    return 0


def _training(recipe: Recipe, options: argparse.Namespace, reader: Reader) -> Iterator[str]:
    """The command that trains on the new pairs, in a new run directory."""
    yield from ("mdpo-run", str(options.recipe))
    yield from ("--run-dir", f"{recipe.output.dir}-{options.out.stem}")
    for plugin in options.without:
        yield from ("--without", plugin)
    for file in options.plugin:
        yield from ("--plugin", str(file))
    for assignment in options.set:
        if assignment.partition("=")[0].partition(".")[0] != "data":  # those options belong to the old reader
            yield from ("--set", assignment)
    yield from ("--set", f"data={section(reader, recipe.data)}")


def section(reader: Reader, old: Reader | None = None) -> str:
    """A reader as the recipe's section ``data``, written in JSON, which is also YAML.

    ``old``: the reader of the rows that these were made of; what every reader has, such as ``hold_out``, is its.
    """
    from mdpo_core.interfaces.reader import Reader

    own = reader.model_dump(mode="json", exclude_defaults=True)
    of_all = {} if old is None else old.model_dump(mode="json", exclude_defaults=True, include=set(Reader.model_fields))
    return json.dumps({"reader": reader.component_name(), **own, **of_all})


def _keep(text: str) -> str | float:
    if text in ("none", "sentences"):
        return text
    return within(text, "none, sentences, or a share between 0 and 1", lambda share: 0 < share < 1)
