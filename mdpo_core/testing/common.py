"""What the contracts of all kinds share."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hypothesis import Phase, settings

from mdpo_core.components import Component
from mdpo_core.example import Example

if TYPE_CHECKING:
    from PIL.Image import Image

# The same cases on every machine, and nothing written where a plugin's author happens to stand.
PROPERTY = settings(
    deadline=None,
    database=None,
    derandomize=True,
    max_examples=30,
    phases=(Phase.generate, Phase.shrink),
    report_multiple_bugs=False,
    print_blob=False,
)


def require(holds: bool, sentence: str) -> None:
    """Raise `AssertionError` unless a property holds; unlike ``assert``, under ``python -O`` as well."""
    if not holds:
        raise AssertionError(sentence)


def name_of(component: Component) -> str:
    return type(component).__name__


def check_options(component: Component, kind: type[Component]) -> None:
    """A component is of its kind, and a run directory's recipe, which is plain data, makes an equal one."""
    require(isinstance(component, kind), f"{name_of(component)} is no subclass of {kind.__name__}")
    plain = component.model_dump(mode="json")
    again = type(component)(**plain)
    require(again == component, f"{name_of(component)} is another component after its options were written: {plain}")


def global_randomness() -> tuple[object, ...]:
    """The state of the process's random generators, as far as they are loaded. Resuming relies on nobody using them."""
    states: list[object] = [random.getstate()]
    if "numpy" in sys.modules:
        _, keys, place, *_ = sys.modules["numpy"].random.get_state()
        states += [keys.tobytes(), place]
    if "torch" in sys.modules:
        states.append(sys.modules["torch"].get_rng_state().numpy().tobytes())
    return tuple(states)


def contents(example: Example) -> tuple[object, ...]:
    """Everything in an example, pixels included, as values that can be compared."""
    named = (example.responses, example.columns, example.prompts, example.vectors, example.boxes)
    others = {name: _pixels(pictures) for name, pictures in example.pictures.items()}
    return example.id, example.prompt, *map(dict, named), _pixels(example.images), others, example.hidden


def _pixels(pictures: Sequence[Image]) -> tuple[object, ...]:
    return tuple((image.mode, image.size, image.tobytes()) for image in pictures)


def all_contents(data: Sequence[Example]) -> list[tuple[object, ...]]:
    return [contents(example) for example in data]
