"""The page on benchmarks: its commands and its recipe are valid."""

from __future__ import annotations

import argparse
import re
import shlex

from support.paths import ROOT

from mdpo_core.cli.parser import build_parser, parsed
from mdpo_core.registry.discovery import current_registry

PAGE = (ROOT / "docs" / "guides" / "benchmarks.md").read_text()


def parsed_options(command: str) -> list[str]:
    """The options of a command."""
    [commands] = (each for each in build_parser()._actions if isinstance(each, argparse._SubParsersAction))
    return [flag for action in commands.choices[command]._actions for flag in action.option_strings]


def test_its_commands_have_options_that_exist() -> None:
    lines = re.findall(r"^mdpo .*$", PAGE, re.MULTILINE)
    commands = [parsed(build_parser(), shlex.split(line)[1:]) for line in lines]
    assert [command.command for command in commands] == ["score", "score", "answer", "score", "answer"]
    for command in commands:
        known = current_registry().get("benchmark", command.benchmark).model_fields
        given = [word.removeprefix("--").replace("-", "_") for word in command.more if word.startswith("--")]
        assert set(given) <= set(known)


def test_it_names_every_benchmark_and_no_option_that_none_has() -> None:
    components = current_registry().components("benchmark")
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) == set(components)
    options = {name.replace("_", "-") for cls in components.values() for name in cls.model_fields}
    own = {"answers", "by-row", "out", "kind", "port"}
    answering = {word.removeprefix("--") for word in parsed_options("answer")}
    assert set(re.findall(r"--([a-z][a-z-]+)", PAGE)) <= options | own | answering
