"""Every command's help ends with examples, and each of them is a command."""

from __future__ import annotations

import argparse
import shlex

import pytest

from mdpo_core.cli.parser import build_parser, parsed
from mdpo_core.cli.starting.examples import EXAMPLES


def commands() -> dict[str, argparse.ArgumentParser]:
    parser = build_parser()
    [subparsers] = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    return dict(subparsers.choices)


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_help_ends_with_examples_of_at_most_80_columns(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = commands()[name].format_help().partition("\nexamples:\n")[2].splitlines()
    assert 2 <= len(lines) <= 4, f"{name} has no examples in EXAMPLES"
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_every_example_is_a_valid_command(name: str) -> None:
    for words, _ in EXAMPLES[name]:
        program, *rest = shlex.split(words.partition(" > ")[0].partition(" | ")[0])
        options = parsed(build_parser(), ["run", *rest] if program == "mdpo-run" else rest)
        assert options.command == name
