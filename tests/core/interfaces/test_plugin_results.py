"""Readers, corruptions, evaluators and trackers of third parties that do what they must not do: named when they do."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import PIL.Image
import PIL.ImageDraw
import pytest
from PIL.Image import Image
from support.paths import RECIPES

from mdpo_core import (
    Component,
    Corruption,
    DataError,
    Evaluator,
    Example,
    ImageCorruption,
    MdpoError,
    PairLoss,
    PluginError,
    Policy,
    Reader,
    RecipeError,
    Scores,
    Tracker,
    component,
    hookimpl,
    load_recipe,
    run,
)
from mdpo_core.data.checking import check_data, open_data
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.data.validity import problems_of_row
from mdpo_core.errors import fault_of_plugin
from mdpo_core.registry.discovery import Registry, current_registry, use_registry
from mdpo_core.types.view import CHOSEN, View

VALID = Example("1", "<image> what is it?", {"chosen": "a dog", "rejected": "a cat"}, (PIL.Image.new("RGB", (9, 9)),))


class Given(Reader):
    """Opens what a test gives it."""

    def open(self) -> Sequence[Example]:
        return ROWS[0]


class Painter(ImageCorruption):
    """Paints over the picture that it is given."""

    def __call__(self, image: Image, rng: random.Random) -> Image:
        PIL.ImageDraw.Draw(image).rectangle((0, 0, *image.size), fill="red")
        return image


class Lost(Corruption):
    """Forgets to return."""

    def apply(self, example: Example, rng: random.Random, data: Sequence[Example]) -> Example:
        return None  # type: ignore[return-value]


class Failing(Corruption):
    """Cannot."""

    def apply(self, example: Example, rng: random.Random, data: Sequence[Example]) -> Example:
        raise ZeroDivisionError("no picture")


class Words(Evaluator):
    """Measures in words."""

    def evaluate(self, policy: Policy, folder: Path, step: int) -> Mapping[str, float]:
        return {"quality": "good"}  # type: ignore[dict-item]


class Full(Tracker):
    """Has no room left, or begins no log."""

    room: bool = False

    def start(self, folder: Path) -> Any:
        if not self.room:
            raise OSError("no space")


class Texts(PairLoss):
    """Names its views in text."""

    def views(self) -> tuple[View, ...]:
        return ("chosen", "rejected")  # type: ignore[return-value]

    def __call__(self, scores: Scores) -> Any:
        return -scores.margin("chosen", "rejected")


class Letters(Texts):
    """Forgets the comma."""

    def views(self) -> tuple[View, ...]:
        return (CHOSEN,)

    def columns(self) -> tuple[str, ...]:
        return "score"  # type: ignore[return-value]


ROWS: list[Any] = [[]]
WRONG = (Given, Painter, Lost, Failing, Words, Full, Texts, Letters)


class Plugin:
    """Offers all of them."""

    @hookimpl
    def mdpo_components(self) -> Mapping[str, type[Component]]:
        return {cls.__name__.lower(): cls for cls in WRONG}


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    before, registry = current_registry(), Registry.discover()
    registry.register(Plugin(), "own")
    use_registry(registry)
    yield
    use_registry(before)


def trained(small: list[str], *changes: str) -> None:
    run(load_recipe(RECIPES / "llava_mdpo.yaml", [*small, *changes]))


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        (None, PluginError, r"the reader 'given': open\(\) must return a sequence of examples; it returned NoneType"),
        ((row for row in [VALID]), PluginError, "it returned generator"),
        ([], DataError, "the reader 'given' gives no rows"),
    ],
)
def test_a_reader_gives_some_rows(rows: Any, error: type[MdpoError], message: str) -> None:
    ROWS[0] = rows
    with pytest.raises(error, match=message):
        open_data(Given())


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"prompt": "what?"}, "the dict {'prompt': 'what?'} is not an Example"),
        (replace(VALID, id=7), "the id is the int 7; it must be text"),  # type: ignore[arg-type]
        (replace(VALID, prompt=None), "the prompt is None; it must be text or a tuple of Turn"),  # type: ignore[arg-type]
        (
            replace(VALID, responses={"chosen": "a dog", "rejected": None}),  # type: ignore[dict-item]
            "the response 'rejected' is None; it must be text or a tuple of Turn",
        ),
        (
            replace(VALID, images=("a.png",)),
            "its images must contain only PIL images, found the str 'a.png'",
        ),  # type: ignore[arg-type]
    ],
)
def test_rows_of_other_types_are_told_like_other_bad_rows(row: Any, problem: str, llava: Path) -> None:
    assert problems_of_row(row) == [problem]
    adapter = component("adapter", "llava", path=str(llava), unusual_texts="keep")
    builder = BatchBuilder(adapter.encoder(), (CHOSEN,), {}, (), 10**6, 0)  # type: ignore[attr-defined]
    checked = check_data([replace(VALID, id="0"), row], builder, lambda *_: None)
    assert checked.rows == [0]
    assert [str(found) for found in checked.bad[1]] == [f"row 2: {problem}"]


def test_an_error_while_a_row_is_read_says_which() -> None:
    class Broken(list[Any]):
        def __getitem__(self, row: Any) -> Any:
            raise KeyError("picture")

    with pytest.raises(KeyError) as caught:
        check_data(Broken([1]), BatchBuilder.for_terms([], {}, None, 99, 0), lambda *_: None)  # type: ignore[arg-type]
    assert caught.value.__notes__ == ["(in row 1 of the data)"]


def test_in_place_corruption_changes_no_other_condition(llava: Path) -> None:
    """A corruption that paints over what it is given changes no other condition."""
    adapter: Any = component("adapter", "llava", path=str(llava))
    conditions = {"red": Painter(), "flipped": component("corruption", "flip")}
    views = (View("chosen", "red"), View("chosen", "flipped"), CHOSEN)
    builder = BatchBuilder(adapter.encoder(), views, conditions, (), 10**6, 0)  # type: ignore[arg-type]
    prompts = builder.encode(VALID, [VALID], epoch=0).prompts
    [clean] = adapter.encoder().encode_prompt(VALID).images
    assert all(prompts["clean"].images[0][name].equal(values) for name, values in clean.items())
    assert all(prompts["flipped"].images[0][name].equal(values) for name, values in clean.items())
    assert not any(prompts["red"].images[0][name].equal(values) for name, values in clean.items())


def test_a_corruption_that_returns_nothing_is_named(small: list[str]) -> None:
    with pytest.raises(PluginError, match=r"the corruption 'crop' \(Lost\), on example '.*': None is not an Example"):
        trained(small, "corruptions.crop={corruption: lost}")


def test_corruption_error_keeps_traceback_and_names_its_place(small: list[str]) -> None:
    with pytest.raises(ZeroDivisionError, match=r"no picture\n\(in the corruption 'crop' \(Failing\), on example '"):
        trained(small, "corruptions.crop={corruption: failing}")


@pytest.mark.parametrize(
    ("kind", "name", "method", "source"),
    [
        ("adapter", "llava", "check", "check() of the adapter 'llava'"),
        ("adapter", "llava", "encoder", "encoder() of the adapter 'llava'"),
        ("adapter", "llava", "load", "load() of the adapter 'llava'"),
        ("backend", "local", "check", "check() of the backend 'local'"),
        ("backend", "local", "placement", "placement() of the backend 'local'"),
        ("backend", "local", "start", "start() of the backend 'local'"),
    ],
)
def test_an_adapter_or_a_backend_that_fails_is_named(
    kind: str, name: str, method: str, source: str, small: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: object, **options: object) -> None:
        raise KeyError("missing weight")

    recipe = load_recipe(RECIPES / "llava_mdpo.yaml", small)
    monkeypatch.setattr(current_registry().get(kind, name), method, fails)
    with pytest.raises(KeyError) as caught:
        run(recipe)
    fault = fault_of_plugin(caught.value)
    assert fault is not None
    assert fault.startswith(f"{source} raised KeyError: 'missing weight' (")


@pytest.mark.parametrize("method", ["encode_prompt", "encode_response"])
def test_an_encoder_that_fails_is_named_with_the_example(
    method: str, llava: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: object) -> None:
        raise KeyError("no token")

    encoder: Any = component("adapter", "llava", path=str(llava)).encoder()  # type: ignore[attr-defined]
    monkeypatch.setattr(type(encoder), method, fails)
    builder = BatchBuilder(encoder, (CHOSEN,), {}, (), 10**6, 0)
    with pytest.raises(KeyError) as caught:
        builder.encode(VALID, [VALID], epoch=0)
    fault = fault_of_plugin(caught.value)
    assert fault is not None
    assert fault.startswith(
        f"the encoder {type(encoder).__name__}, on example '{VALID.id}' raised KeyError: 'no token' ("
    )


def test_an_evaluator_measures_in_numbers(small: list[str]) -> None:
    with pytest.raises(PluginError, match=r"the evaluator 'words' must return numbers by name; it returned \{"):
        trained(small, "evaluators=[{evaluator: words}]")


@pytest.mark.parametrize(
    ("room", "message"),
    [
        ("false", "the tracker 'full' raised OSError: no space (test_plugin_results.py:"),
        ("true", "the tracker 'full': start() must return a TrackerLog, with log() and close(); it returned None;"),
    ],
)
def test_a_tracker_that_keeps_no_log_is_named(
    room: str, message: str, small: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    trained(small, f"trackers=[{{tracker: full, room: {room}}}]")
    assert [said for said in caplog.messages if message in said]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "texts",
            r"views\(\) of Texts must return a tuple such as \(View\('chosen'\),\); it returned \('chosen', ",
        ),
        ("letters", r"columns\(\) of Letters must return a tuple such as \('score',\); it returned 'score'"),
    ],
)
def test_what_a_term_declares_is_of_its_type(name: str, message: str, small: list[str]) -> None:
    with pytest.raises(RecipeError, match=rf"objective\.?\[?0\]?.*{message}"):
        load_recipe(RECIPES / "llava_mdpo.yaml", [*small, f"objective=[{{loss: {name}}}]"])
