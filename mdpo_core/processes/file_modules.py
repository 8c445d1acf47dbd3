"""Modules that are one file anywhere on the disk: run once in each process, from the same bytes.

A worker gets the bytes that this process has read, so the code of a run does not change while its file is edited.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TypeVar

Value = TypeVar("Value")
_PREFIX = "mdpo_file_"
_loaded: dict[str, FileModule] = {}
_given: list[tuple[str, object]] | None = None


@dataclass(frozen=True)
class FileModule:
    """The file at ``path``, which is absolute, as it was read: ``source``."""

    path: Path
    source: bytes

    @property
    def module(self) -> str:
        """The name of its module, by which pickles find its classes."""
        return _PREFIX + re.sub(r"\W", "_", self.path.stem)

    @cached_property
    def sha256(self) -> str:
        """The digest of the bytes that were read."""
        return hashlib.sha256(self.source).hexdigest()

    def execute(self) -> tuple[ModuleType, list[tuple[str, object]]]:
        """Run the code as a new module. Returns the module, and what the code gave to `register`, by name.

        Raises whatever the code raises; the module that was there before is then kept.
        """
        global _given
        module = ModuleType(self.module)
        module.__file__ = str(self.path)
        others, _given = _given, []
        try:
            with self.kept_before():
                sys.modules[self.module], _loaded[self.module] = module, self
                exec(compile(self.source, self.path, "exec", dont_inherit=True), module.__dict__)
                return module, _given
        finally:
            _given = others

    @contextmanager
    def kept_before(self) -> Iterator[None]:
        """Put the module of this name back that was there before, if the code inside the ``with`` raises."""
        before = sys.modules.get(self.module), _loaded.get(self.module)
        try:
            yield
        except BaseException:
            _put_back(sys.modules, self.module, before[0])
            _put_back(_loaded, self.module, before[1])
            raise


def _put_back(modules: MutableMapping[str, Value], name: str, value: Value | None) -> None:
    if value is None:
        modules.pop(name, None)
    else:
        modules[name] = value


def give(name: str, thing: object) -> bool:
    """Note what the code of a file registers; False if no file is being run."""
    if _given is None:
        return False
    _given.append((name, thing))
    return True


def file_modules() -> tuple[FileModule, ...]:
    """The files that this process has run, for its workers."""
    return tuple(_loaded.values())


def file_module(name: str) -> FileModule | None:
    """The file that was run as the module of this name; None for any other module."""
    return _loaded.get(name)


def execute_all(files: Iterable[FileModule]) -> None:
    """Run the files of another process in this one, once each."""
    for file in files:
        if file.module not in _loaded:
            file.execute()
