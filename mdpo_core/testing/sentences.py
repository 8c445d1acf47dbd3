"""What the contracts of all kinds share."""

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


_LONGEST_TEXT = 300
_HERE = str(Path(__file__).parent)


class Broken(AssertionError):
    """What a contract says; an `AssertionError` of a component's own is one of its exceptions."""


def require(holds: bool, sentence: str) -> None:
    """Raise `AssertionError` unless a property holds; unlike ``assert``, under ``python -O`` as well."""
    if not holds:
        raise Broken(sentence)


def name_of(component: Component) -> str:
    """The name of the component's class."""
    return type(component).__name__


def require_returned(
    component: Component, where: str, value: object, wanted: type | tuple[type, ...], words: str
) -> None:
    """``where``: which call it is; ``words``: what that is to return."""
    require(isinstance(value, wanted), f"{name_of(component)} returns {shown(value)} {where}; it must return {words}")


def require_fields(where: str, example: Example) -> None:
    """Raise `Broken` if a field of the example has a wrong type."""
    problem = wrong_type_in(example)
    require(problem is None, f"{where}: {problem}")


@contextmanager
def calling(component: Component, where: str) -> Iterator[None]:
    """Code of a component runs inside; what it raises comes out as the sentence of `raised`."""
    try:
        yield
    except Broken:
        raise
    except PluginError as error:  # what the core says of a component
        raise Broken(f"{name_of(component)}, {where}: {error}") from None
    except Exception as error:
        raise raised(component, error, where) from error


def raised(component: Component, error: Exception, where: str) -> Broken:
    """The sentence for an exception that came out of a component; ``where``: which call and case it is."""
    text = textwrap.shorten(str(error), _LONGEST_TEXT)
    frame = frame_of(type(component), error)
    # What was returned may be such that the contract itself stumbles over it.
    verb = "made its contract raise" if frame.filename.startswith(_HERE) else "raised"
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return Broken(f"{name_of(component)} {verb} {what} ({frame.filename}:{frame.lineno}) {where}")


def frame_of(component: type[Component], error: BaseException) -> traceback.FrameSummary:
    """The innermost frame of an exception in a component's package or that of a base class, or else of all."""
    packages = {_package(cls.__module__) for cls in component.__mro__} - {"mdpo_core", "pydantic", "abc", "builtins"}
    frames = list(traceback.walk_tb(error.__traceback__))
    own = [each for each in frames if _package(each[0].f_globals.get("__name__", "")) in packages]
    return traceback.StackSummary.extract((own or frames)[-1:])[0]


def _package(module: str) -> str:
    return module.partition(".")[0]


def check_options(component: Component, kind: type[Component]) -> None:
    """A component is of its kind, and a run directory's recipe, which is plain data, makes an equal one."""
    require(isinstance(component, kind), f"{name_of(component)} is no subclass of {kind.__name__}")
    with calling(component, "when it is made again of its own options"):
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
    named = (example.responses, example.columns, example.other_prompts, example.vectors, example.boxes)
    others = {name: _pixels(images) for name, images in example.other_images.items()}
    return example.id, example.prompt, *map(dict, named), _pixels(example.images), others, example.dropped


def _pixels(images: Sequence[Image]) -> tuple[object, ...]:
    return tuple((image.mode, image.size, image.tobytes()) for image in images)


def all_contents(data: Sequence[Example]) -> list[tuple[object, ...]]:
    """The contents of each example, to compare with ``==``."""
    return [contents(example) for example in data]
