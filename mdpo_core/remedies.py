"""What a user can do about an error, in the words of the call: an option of a command, or an argument in Python."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

# Options without a value, which are arguments of True in Python.
_FLAGS = ("resume", "merge", "accept_changed_code")
_by_command = False


@contextmanager
def in_words_of_commands() -> Iterator[None]:
    """Inside the ``with``, errors speak of the command line; everywhere else they speak of Python."""
    global _by_command
    before, _by_command = _by_command, True
    try:
        yield
    finally:
        _by_command = before


def either(command: str, python: str) -> str:
    """``command`` if a command was called, and ``python`` otherwise."""
    return command if _by_command else python


def option(words: str) -> str:
    """An option as a command takes it, ``--run-dir DIR``; in Python the argument, ``run_dir=DIR``. One or several."""
    return either(words, ", ".join(map(_argument, words.split("--")[1:])))


def _argument(words: str) -> str:
    name, _, value = words.strip().partition(" ")
    name = name.replace("-", "_")
    return f"{name}={value}" if value else f"{name}=True" if name in _FLAGS else name
