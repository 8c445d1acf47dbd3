"""Helpers that the contracts of all kinds share: checks, calls of a component, and error sentences."""

from __future__ import annotations

import random
import sys
import textwrap
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import Phase, settings

from mdpo_core.data.validity import wrong_type_in
from mdpo_core.errors import PluginError, shown
from mdpo_core.interfaces.component import Component
from mdpo_core.types.example import Example

if TYPE_CHECKING:
    from PIL.Image import Image

# Draws the same cases on every machine, and writes nothing into the current folder.
PROPERTY = settings(
    deadline=None,
    database=None,
    derandomize=True,
    max_examples=30,
    phases=(Phase.generate, Phase.shrink),
    report_multiple_bugs=False,
    print_blob=False,
)


_LONGEST_TEXT = 300
_HERE = str(Path(__file__).parent)


class Broken(AssertionError):
    """A broken contract. Unlike it, a plain `AssertionError` comes from the component's own code."""


def require(holds: bool, sentence: str) -> None:
    """Raise `AssertionError` unless a property holds; unlike ``assert``, this also works under ``python -O``."""
    if not holds:
        raise Broken(sentence)


def name_of(component: Component) -> str:
    """The name of the component's class."""
    return type(component).__name__


def require_returned(
    component: Component, context: str, value: object, types: type | tuple[type, ...], expected: str
) -> None:
    """Raise `Broken` if a returned value has none of ``types``.

    For the message: ``context`` describes the call, ``expected`` the value that it must return.
    """
    require(
        isinstance(value, types), f"{name_of(component)} returns {shown(value)} {context}; it must return {expected}"
    )


def require_fields(location: str, example: Example) -> None:
    """Raise `Broken` if a field of the example has a wrong type."""
    problem = wrong_type_in(example)
    require(problem is None, f"{location}: {problem}")


@contextmanager
def calling(component: Component, context: str) -> Iterator[None]:
    """Run code of a component, and turn an exception from it into the sentence of `raised`."""
    try:
        yield
    except Broken:
        raise
    except PluginError as error:  # the core already describes the mistake
        raise Broken(f"{name_of(component)}, {context}: {error}") from None
    except Exception as error:
        raise raised(component, error, context) from error


def raised(component: Component, error: Exception, context: str) -> Broken:
    """The sentence for an exception that a component raised; ``context``: the call and the case."""
    message = textwrap.shorten(str(error), _LONGEST_TEXT)
    frame = frame_of(type(component), error)
    # A wrong result of the component may only raise in the contract's own code.
    verb = "made its contract raise" if frame.filename.startswith(_HERE) else "raised"
    description = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return Broken(f"{name_of(component)} {verb} {description} ({frame.filename}:{frame.lineno}) {context}")


def frame_of(component: type[Component], error: BaseException) -> traceback.FrameSummary:
    """The innermost frame in the package of a component or of its base classes; without one, the innermost of all."""
    packages = {_package(cls.__module__) for cls in component.__mro__} - {"mdpo_core", "pydantic", "abc", "builtins"}
    frames = list(traceback.walk_tb(error.__traceback__))
    own = [each for each in frames if _package(each[0].f_globals.get("__name__", "")) in packages]
    return traceback.StackSummary.extract((own or frames)[-1:])[0]


def _package(module: str) -> str:
    return module.partition(".")[0]


def check_options(component: Component, kind: type[Component]) -> None:
    """Check that a component is of its kind, and that its options, as plain data in a recipe, create an equal one."""
    require(isinstance(component, kind), f"{name_of(component)} is not a subclass of {kind.__name__}")
    with calling(component, "when it is created again from its own options"):
        options = component.model_dump(mode="json")
        again = type(component)(**options)
    require(
        again == component, f"{name_of(component)} differs from a component created from its own options: {options}"
    )


def global_randomness() -> tuple[object, ...]:
    """The states of the loaded global random generators. Resumed runs only repeat if no component uses these."""
    states: list[object] = [random.getstate()]
    if "numpy" in sys.modules:
        _, keys, position, *_ = sys.modules["numpy"].random.get_state()
        states += [keys.tobytes(), position]
    if "torch" in sys.modules:
        states.append(sys.modules["torch"].get_rng_state().numpy().tobytes())
    return tuple(states)


def contents(example: Example) -> tuple[object, ...]:
    """Everything in an example, pixels included, as values that compare by ``==``."""
    named = (example.responses, example.columns, example.other_prompts, example.vectors, example.boxes)
    others = {name: _pixels(images) for name, images in example.other_images.items()}
    return (
        example.id,
        example.prompt,
        *map(dict, named),
        _pixels(example.images),
        others,
        example.dropped,
        example.videos,
        example.frame_times,
        example.begun,
    )


def _pixels(images: Sequence[Image]) -> tuple[object, ...]:
    return tuple((image.mode, image.size, image.tobytes()) for image in images)


def all_contents(data: Sequence[Example]) -> list[tuple[object, ...]]:
    """The contents of each example, to compare with ``==``."""
    return [contents(example) for example in data]
