"""The base class of all components, and that of all options in a recipe."""

from __future__ import annotations

from abc import ABC
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, field_validator

from mdpo_core.errors import PluginError

# No option of a sane run is beyond these; past them arithmetic in float32, or the machine, gives out.
_MAX_NUMBER, _MAX_WHOLE_NUMBER = 1e30, 10**12
_MAX_NAME, _MAX_PATH = 255, 4095  # bytes of a file's name and of a path, on Linux


class Options(BaseModel):
    """Options in a recipe: immutable, all known by name, no number or path beyond what a run can use."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _is_usable(cls, value: Any) -> Any:
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, (int, float)):
                _require_sane(each)
            elif isinstance(each, Path):
                _require_short(each)
        return value


class Section(Options):
    """A section of a recipe that has only options: it does not choose a component."""


def _require_sane(number: float) -> None:
    if isinstance(number, int):
        if abs(number) > _MAX_WHOLE_NUMBER:
            raise ValueError(f"input should be at most {_MAX_WHOLE_NUMBER:,}")
    elif abs(number) > _MAX_NUMBER:
        raise ValueError(f"input should be at most {_MAX_NUMBER:g} in size")


def _require_short(path: Path) -> None:
    lengths = [len(part.encode("utf-8", "surrogateescape")) for part in path.parts]
    if max(lengths, default=0) > _MAX_NAME or sum(lengths) + len(lengths) > _MAX_PATH:
        raise ValueError(f"a path has at most {_MAX_PATH} bytes, and each of its names at most {_MAX_NAME}")


class Component(Options, ABC):
    """Something a recipe names: ``{<kind>: <name>, <option>: <value>, ...}``."""

    kind: ClassVar[str]
    _component_name: ClassVar[str | None] = None

    @classmethod
    def component_name(cls) -> str:
        """The name that recipes use for this class: the first one with which it was offered or registered.

        A subclass does not inherit it. Raises `PluginError` for a class without a name.
        """
        name: str | None = cls.__dict__.get("_component_name")
        if name is None:
            raise PluginError(
                f"the class {cls.__name__} has no name that a recipe could use: give it one with "
                f'register("mine", {cls.__name__}), or offer it in a plugin'
            )
        return name

    @classmethod
    def has_name(cls) -> bool:
        """Whether a plugin offers this class, or a script registered it."""
        return cls.__dict__.get("_component_name") is not None

    @classmethod
    def set_component_name(cls, name: str) -> None:
        """Set the name, unless the class has one. The registry calls this once for each name."""
        if not cls.has_name():
            cls._component_name = name

    def __getstate__(self) -> dict[Any, Any]:
        """Adds the name, because another process may not have discovered any plugin."""
        return {**super().__getstate__(), "component_name": self.__class__.__dict__.get("_component_name")}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        name = state.pop("component_name")
        if name is not None:
            self.set_component_name(name)
        super().__setstate__(state)
