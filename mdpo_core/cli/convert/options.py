"""The options of another trainer, with its defaults, and which of them a recipe has taken over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from mdpo_core.cli.convert.config import Config
from mdpo_core.recipe.names.other_trainers import TRAINERS, other_name

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_NOTHING = ("", "none", "null")


class Options:
    """The options of a configuration; what is read counts as taken over."""

    def __init__(self, config: Config, trainer: str, defaults: Mapping[str, Any]) -> None:
        self.config = config
        self.title = TRAINERS[trainer]
        self._defaults = defaults
        self._taken: set[str] = set()

    def given(self, name: str) -> bool:
        """Whether the configuration has the option, with a value."""
        return not _is_nothing(self.config.options.get(name))

    def value(self, name: str) -> Any:
        """The value that the trainer would use; None if there is none."""
        self._taken.add(name)
        return self.config.options[name] if self.given(name) else self._defaults.get(name)

    def first(self, *names: str) -> str:
        """The first of these names that the configuration has, or the first of them."""
        self._taken.update(name for name in names if self.given(name))
        return next(filter(self.given, names), names[0])

    def number(self, name: str) -> int | float:
        """A number; a whole one has no fraction."""
        value = self.value(name)
        try:
            number = float(value)
        except (TypeError, ValueError):
            self.refuse(name, f"must be a number, found {value!r}")
        return int(number) if number.is_integer() and abs(number) < 1e15 else number

    def whole(self, name: str) -> int:
        """A whole number."""
        number = self.number(name)
        if not isinstance(number, int):
            self.refuse(name, f"must be a whole number, found {number}")
        return number

    def truth(self, name: str) -> bool:
        """True or false; an absent option is false."""
        value = str(self.value(name)).lower()
        if value not in (*_TRUE, *_FALSE, *_NOTHING):
            self.refuse(name, f"must be true or false, found {value!r}")
        return value in _TRUE

    def text(self, name: str) -> str:
        """A text; empty if the option is absent."""
        value = self.value(name)
        return "" if _is_nothing(value) else str(value)

    def texts(self, name: str) -> list[str]:
        """A list of texts, which may be written as one text with commas."""
        value = self.value(name)
        if _is_nothing(value):
            return []
        parts = value if isinstance(value, list) else str(value).split(",")
        return [str(part).strip() for part in parts if str(part).strip()]

    def why(self, *names: str) -> str:
        """Where a value comes from: the options that the configuration has, or the trainer's default."""
        given = [name for name in names if self.given(name)]
        return ", ".join(given) if given else f"{self.title}'s {' and '.join(names)}, by default"

    def refuse(self, name: str, message: str) -> NoReturn:
        """Raise `RecipeError` about one option."""
        self.config.refuse(f"{name} {message}")

    def left(self) -> Iterator[str]:
        """A sentence for each option that was given, is not what the trainer would do anyway, and is not taken over."""
        for name, value in self.config.options.items():
            if name not in self._taken and not _is_off(value) and not self._is_default(name, value):
                line = other_name(name)
                meant = "mdpo does not know this option" if line is None else line.meant
                yield f"{name}: {value} is not in the recipe; " + (f"see {meant}" if line and line.keys else meant)

    def _is_default(self, name: str, value: object) -> bool:
        """Whether a value is what the trainer would take anyway."""
        return name in self._defaults and str(self._defaults[name]).lower() == str(value).lower()


def _is_nothing(value: object) -> bool:
    return value is None or value == [] or (isinstance(value, str) and value.lower() in _NOTHING)


def _is_off(value: object) -> bool:
    """Whether a value says that nothing is to be done; transformers writes ``<HUB_TOKEN>`` in place of secrets."""
    return _is_nothing(value) or str(value).lower() in _FALSE or (str(value).startswith("<") and str(value)[-1] == ">")
