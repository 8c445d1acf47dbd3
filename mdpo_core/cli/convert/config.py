"""Reads the configuration of another trainer: YAML, JSON, or the shell script that starts it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from mdpo_core.errors import Problem, RecipeError
from mdpo_core.recipe.yaml_text import read_yaml

_SCRIPTS = (".sh", ".bash", ".slurm", ".txt")
# The words that start a trainer; its options follow.
_COMMANDS: Mapping[tuple[str, ...], str] = {
    ("swift", "rlhf"): "swift",
    ("trl", "dpo"): "trl",
    ("llamafactory-cli", "train"): "llamafactory",
}
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")
_CALCULATED = re.compile(r"\$\(expr (\d+) ([-+*/]) (\d+)\)|\$\(\( *(\d+) *([-+*/]) *(\d+) *\)\)")
_SETTING = re.compile(r"^(?:export )?(\w+)=(.*)$")


@dataclass(frozen=True)
class Config:
    """The options of a configuration by name, and what is known around them.

    ``trainer``: of the command in a script; empty in a file of options. ``environment``: variables that it sets.
    """

    file: Path
    options: Mapping[str, Any]
    trainer: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    def refuse(self, message: str) -> NoReturn:
        """Raise `RecipeError` with the name of the file."""
        raise RecipeError([Problem(str(self.file), "", message)])


def read_config(file: Path) -> Config:
    """The configuration in ``file``. Raises `RecipeError` if it cannot be read, or is no mapping of options."""
    if not file.is_file():
        raise RecipeError([Problem(str(file), "", "the file does not exist")])
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError([Problem(str(file), "", f"cannot be read as text: {error}")]) from error
    if file.suffix in _SCRIPTS or text.startswith("#!"):
        return _of_script(file, text)
    root = read_yaml(text, lambda line: f"{file}:{line + 1}")
    if root is None or not root.is_mapping:
        raise RecipeError([Problem(str(file), "", "is no mapping of options, such as learning_rate: 1.0e-6")])
    options = {str(name): value for name, value in root.plain().items()}
    environment = {key: str(value) for key, value in _mapping(options.pop("ENV", None) or options.pop("env", None))}
    return Config(file, {name.replace("-", "_"): value for name, value in options.items()}, "", environment)


def _mapping(value: object) -> Iterator[tuple[str, object]]:
    return iter(value.items()) if isinstance(value, Mapping) else iter(())


def _of_script(file: Path, text: str) -> Config:
    """The options of the command that starts a trainer, with the script's own variables put in."""
    environment: dict[str, str] = {}
    for line in text.replace("\\\n", " ").splitlines():
        try:
            words = shlex.split(_filled(line, environment), comments=True)
        except ValueError as error:
            raise RecipeError([Problem(str(file), "", f"cannot be read as a shell script: {error}")]) from error
        for word in words:
            if (setting := _SETTING.match(word)) is None:
                break
            environment[setting[1]] = setting[2]
        for command, trainer in _COMMANDS.items():
            for start in range(len(words) - 1):
                if tuple(words[start : start + 2]) == command:
                    rest = words[start + 2 :]
                    return _with_file(Config(file, _options(rest), trainer, environment), rest[:1])
    known = ", ".join(" ".join(command) for command in _COMMANDS)
    raise RecipeError([Problem(str(file), "", f"starts none of these: {known}; give a YAML or JSON file of options")])


def _with_file(config: Config, first: Sequence[str]) -> Config:
    """The options of a file that the command names first, under those of the command itself."""
    if not first or first[0].startswith("-"):
        return config
    inner = read_config(config.file.parent / first[0])
    return Config(config.file, {**inner.options, **config.options}, config.trainer, config.environment)


def _filled(line: str, environment: Mapping[str, str]) -> str:
    """A line with the values of variables that the script has set, and with its sums."""
    known = _VARIABLE.sub(lambda found: environment.get(found[1], found[0]), line)
    return _CALCULATED.sub(lambda found: str(_calculated(*(part for part in found.groups() if part))), known)


def _calculated(one: str, sign: str, other: str) -> int:
    left, right = int(one), int(other)
    return {"+": left + right, "-": left - right, "*": left * right, "/": left // max(right, 1)}[sign]


def _options(words: Sequence[str]) -> dict[str, Any]:
    """``--name value``, ``--name=value``, ``--name a b c`` and ``--name`` alone, which is true."""
    options: dict[str, Any] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name, equals, value = word.removeprefix("--").partition("=")
            name = name.replace("-", "_")
            options[name] = [value] if equals else []
        elif name:
            options[name].append(word)
    return {name: _value(values) for name, values in options.items()}


def _value(words: Sequence[str]) -> Any:
    return True if not words else words[0] if len(words) == 1 else list(words)
