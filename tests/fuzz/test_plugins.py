"""Plugins that raise, return and write anything: each is named, and none ends the process."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import PIL.Image
import pytest
import torch
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from pydantic import model_validator
from torch import Tensor

from mdpo_core import (
    Corruption,
    Example,
    ImageCorruption,
    MdpoError,
    PairLoss,
    PluginError,
    Reader,
    RecipeError,
    Scores,
    load_recipe,
)
from mdpo_core.cli import main
from mdpo_core.data.checking import open_data
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.errors import fault_of_plugin
from mdpo_core.interfaces.plugin_results import require_metrics
from mdpo_core.objective.objective import Objective
from mdpo_core.registry import discovery
from mdpo_core.registry.discovery import Registry
from mdpo_core.types.view import View

_PICTURE = PIL.Image.new("RGB", (9, 7))
_EXAMPLE = Example("1", "<image> what?", {"chosen": "a", "rejected": "b"}, (_PICTURE,))


class _Own(BaseException):
    """Not an `Exception`."""


_ERRORS = (
    SystemExit(0),
    SystemExit("bye"),
    _Own("odd"),
    ValueError("a\nb"),
    KeyError(5),
    RecursionError(),
    OSError(28),
)
_VALUES = (None, 5, "text", float("nan"), True, [], {}, (1, 2), b"x", object(), torch.zeros(2), torch.zeros(3, 3))
_PICTURES = tuple(
    PIL.Image.new(mode, size) for mode in ("L", "RGBA", "P", "I;16", "F", "CMYK") for size in ((9, 7), (0, 1))
)
_odd = st.sampled_from([*_ERRORS, *_VALUES, *_PICTURES])


def _give(odd: Any) -> Any:
    if isinstance(odd, BaseException):
        raise type(odd)(*odd.args)  # anew: errors collect notes
    return odd


def _is_named(error: BaseException, source: str) -> bool:
    """Whether a refusal names the plugin's code; an error of its own kind has a note, which the command line prints."""
    return source in (str(error) if isinstance(error, MdpoError) else str(fault_of_plugin(error)))


class _Loss(PairLoss):
    """Gives what a test says, after it wrote into what it was given."""

    odd: Any = None
    writes: str = ""

    def __call__(self, scores: Scores) -> Tensor:
        if self.writes:
            getattr(scores, self.writes)["chosen"].add_(1)
        return -scores.margin("chosen", "rejected") if self.writes else _give(self.odd)


@pytest.mark.parametrize("writes", ["reference", "num_tokens"])
def test_a_loss_that_writes_into_scores_is_named(writes: str) -> None:
    with pytest.raises(
        PluginError, match=rf"term 'mine' \(_Loss\) writes into scores.{writes}, which other terms read"
    ):
        _loss_of(_Loss(writes=writes))


def _loss_of(loss: _Loss) -> None:
    policy = {name: torch.full((4,), -3.0, requires_grad=True) for name in ("chosen", "rejected")}
    reference = {name: torch.full((4,), -3.0) for name in policy}
    tokens = {name: torch.full((4,), 2) for name in policy}
    Objective({"mine": loss})(Scores.from_sums(policy, reference, tokens))


class _Whole(Corruption):
    """Gives what a test says: an example, or one with other pictures."""

    odd: Any = None

    def apply(self, example: Example, rng: random.Random, data: Any) -> Example:
        value = _give(self.odd)
        return replace(example, images=(value,)) if isinstance(value, PIL.Image.Image) else value


class _Each(ImageCorruption):
    """Gives what a test says."""

    odd: Any = None

    def __call__(self, image: Any, rng: random.Random) -> Any:
        return _give(self.odd)


@pytest.mark.filterwarnings("error")
def test_losses_quickly() -> None:
    @seed(0)
    @settings(max_examples=40)
    @given(_odd)
    def check(odd: Any) -> None:
        with pytest.raises(BaseException) as caught:  # any, as long as it names the term
            _loss_of(_Loss(odd=odd))
        assert _is_named(caught.value, "term 'mine' (_Loss)")

    check()


def test_corruptions_quickly() -> None:
    @seed(0)
    @settings(max_examples=60)
    @given(_odd, st.sampled_from((_Whole, _Each)))
    def check(odd: Any, kind: Any) -> None:
        if isinstance(odd, PIL.Image.Image) and odd.mode in ("RGB", "L") and 0 not in odd.size and kind is _Whole:
            return  # a picture like that of another row
        builder = BatchBuilder(None, (View("chosen", "odd"),), {"odd": kind(odd=odd)}, (), 99, 0)  # type: ignore[arg-type]
        with pytest.raises(BaseException) as caught:
            builder.corrupt(_EXAMPLE, "odd", [_EXAMPLE], epoch=0)
        assert _is_named(caught.value, kind.__name__)

    check()


@pytest.mark.parametrize(
    "found",
    [{"a": float("nan")}, {"a": float("inf")}, {5: 1.0}, {"": 1.0}, {"a": "5"}, {"a": torch.zeros(2)}, [], None, 5],
)
def test_odd_metrics_are_refused(found: Any) -> None:
    with pytest.raises(PluginError, match="the evaluator 'mine' must return"):
        require_metrics("the evaluator 'mine'", found)


def test_numbers_by_name_are_metrics() -> None:
    require_metrics("the evaluator 'mine'", {"a": 1, "b": 0.5, "c": torch.ones(1), "d": True})


class _Reader(Reader):
    """Tells what a test says."""

    gives_odd: ClassVar[Any] = None
    option_odd: ClassVar[Any] = None

    def open(self) -> list[Example]:
        return [_EXAMPLE]

    def gives(self) -> Any:
        return _give(self.gives_odd)

    @classmethod
    def option_for(cls, field: str, name: str) -> Any:
        return _give(cls.option_odd)


class _Needy(_Whole):
    needs_odd: ClassVar[Any] = None
    valid_odd: ClassVar[Any] = None

    @model_validator(mode="after")
    def _is_valid(self) -> Any:
        return self if self.valid_odd is None else _give(self.valid_odd)

    def needs(self) -> Any:
        return _give(self.needs_odd)


def _recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    registry = Registry.discover()
    monkeypatch.setattr(discovery, "_current", registry)
    registry.add("odd_reader", _Reader)
    registry.add("needy", _Needy)
    text = (
        "model: {adapter: llava, path: there}\ndata: {reader: odd_reader}\ncorruptions: {gone: {corruption: needy}}\n"
    )
    text += "objective: [{loss: dpo, over: chosen@gone}]\ntrain: {epochs: 1}\nbackend: {backend: local}\n"
    file = tmp_path / "recipe.yaml"
    file.write_text(f"{text}output: {{dir: {tmp_path / 'run'}}}\n")
    return file


def _load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_recipe(_recipe(tmp_path, monkeypatch))


@pytest.mark.parametrize("odd", [*_ERRORS, 5, "text", [("columns", ["a"])]], ids=repr)
@pytest.mark.parametrize(
    ("cls", "attribute", "source"),
    [
        (_Reader, "gives_odd", "gives() of the reader 'odd_reader'"),
        (_Reader, "option_odd", "option_for() of the reader 'odd_reader'"),
        (_Needy, "needs_odd", "needs() of the corruption 'gone' (_Needy)"),
    ],
)
def test_what_is_asked_while_a_recipe_is_read_is_named(
    cls: Any, attribute: str, source: str, odd: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if attribute == "option_odd" and isinstance(odd, str):
        return  # text is the answer
    monkeypatch.setattr(_Reader, "gives_odd", {"responses": ()} if attribute == "option_odd" else {"columns": ("a",)})
    monkeypatch.setattr(_Needy, "needs_odd", {})
    monkeypatch.setattr(cls, attribute, odd)
    with pytest.raises(PluginError) as caught:
        _load(tmp_path, monkeypatch)
    assert str(caught.value).startswith(source)


@pytest.mark.parametrize("odd", [{"columns": "score"}, {"columns": None}, {"colums": ("a",)}, {5: ("a",)}], ids=repr)
def test_odd_needs_of_a_corruption_are_refused(odd: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Reader, "gives_odd", {"responses": ("chosen", "rejected")})
    monkeypatch.setattr(_Needy, "needs_odd", odd)
    with pytest.raises(
        PluginError, match=r"needs\(\) of the corruption 'gone' .* must return tuples of names by field"
    ):
        _load(tmp_path, monkeypatch)


class _Mute(Exception):
    """Cannot tell its own message."""

    def __str__(self) -> str:
        raise KeyError("no")


@pytest.mark.parametrize("odd", [SystemExit(0), _Own("odd"), _Mute(), KeyError(5), 5, "text", []], ids=repr)
def test_a_validator_that_does_anything_is_a_problem_of_the_recipe(
    odd: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Needy, "valid_odd", odd)
    with pytest.raises(RecipeError, match=r"recipe.yaml:3: corruptions.gone: .*'needy'"):
        _load(tmp_path, monkeypatch)


def test_an_interrupt_that_a_plugin_raises_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = _recipe(tmp_path, monkeypatch)
    registry = discovery.current_registry()
    monkeypatch.setattr(Registry, "discover", lambda without: registry)
    monkeypatch.setattr(_Needy, "valid_odd", KeyboardInterrupt())
    assert main(["check", str(file)]) == 2
    told = capsys.readouterr().err
    assert told.startswith("a plugin's code raised KeyboardInterrupt (test_plugins.py:")
    assert told.count("\n") == 1


def test_an_error_that_cannot_tell_its_message_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Reader, "gives_odd", _Mute())
    with pytest.raises(PluginError, match=r"gives\(\) of the reader 'odd_reader' raised _Mute \(test_plugins.py:"):
        _load(tmp_path, monkeypatch)


@pytest.mark.parametrize("odd", [5, None, "chosen"], ids=repr)
def test_odd_names_that_a_reader_gives_are_refused(odd: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Reader, "gives_odd", {"responses": odd})
    monkeypatch.setattr(_Needy, "needs_odd", {})
    with pytest.raises(PluginError, match=r"gives\(\) of the reader 'odd_reader' must return collections of names"):
        _load(tmp_path, monkeypatch)


def test_rows_that_cannot_be_counted_are_named() -> None:
    class Uncounted(list[Example]):
        def __len__(self) -> int:
            raise KeyError("length")

    class Opens(_Reader):
        def open(self) -> list[Example]:
            return Uncounted()

    Opens.set_component_name("opens")
    with pytest.raises(KeyError) as caught:
        open_data(Opens())
    assert _is_named(caught.value, "the reader 'opens'")
