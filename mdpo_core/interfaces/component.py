"""The base class of all components."""

from __future__ import annotations

from abc import ABC
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from mdpo_core.errors import PluginError


class Component(BaseModel, ABC):
    """Something a recipe names: ``{<kind>: <name>, <option>: <value>, ...}``."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
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
