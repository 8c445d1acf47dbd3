"""A listener cannot change or end a run; whoever tries is named."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from mdpo_core import PluginError, hookimpl
from mdpo_core.listeners import listeners
from mdpo_core.processes.world import ALONE
from mdpo_core.registry.discovery import current_registry

METRICS = {"loss": 0.5, "epoch": 1.0}


class Listener:
    """Does with the metrics what a test says."""

    def __init__(self, act: Callable[[Any], object]) -> None:
        self.act = act

    @hookimpl
    def mdpo_step_finished(self, step: int, metrics: Mapping[str, float]) -> None:
        self.act(metrics)


@pytest.fixture
def tell() -> Iterator[Callable[[Callable[[Any], object]], None]]:
    heard: list[Listener] = []

    def tell(act: Callable[[Any], object]) -> None:
        heard.append(Listener(act))
        current_registry().plugins.register(heard[-1], "mine")
        listeners(ALONE).mdpo_step_finished(step=1, metrics=METRICS)

    yield tell
    for each in heard:
        current_registry().plugins.unregister(each)


class Own(BaseException):
    """Not an `Exception`."""


def _raise(error: BaseException) -> Callable[[Any], object]:
    def act(metrics: Any) -> None:
        raise error

    return act


@pytest.mark.parametrize(
    ("act", "what"),
    [
        (lambda _: sys.exit(0), r"called sys.exit\(0\)"),
        (_raise(ValueError("odd")), "raised ValueError: odd"),
        (_raise(Own()), "raised Own"),
        (_raise(RecursionError()), "raised RecursionError"),
        (lambda metrics: metrics.update(loss=0), "raised TypeError: a plugin cannot change what it is told"),
        (lambda metrics: metrics.clear(), "raised TypeError: a plugin cannot change what it is told"),
        (lambda metrics: metrics.__setitem__("loss", 0), "raised TypeError: a plugin cannot change what it is told"),
        (lambda metrics: metrics.pop("loss"), "raised TypeError: a plugin cannot change what it is told"),
    ],
)
def test_an_error_in_a_hook_names_its_plugin(tell: Any, act: Any, what: str) -> None:
    with pytest.raises(PluginError, match=f"the hook mdpo_step_finished of the plugin 'mine' {what}"):
        tell(act)
    assert METRICS == {"loss": 0.5, "epoch": 1.0}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), BrokenPipeError("pipe"), PluginError("own words")])
def test_what_is_not_a_fault_of_the_plugin_passes(tell: Any, error: BaseException) -> None:
    with pytest.raises(type(error)):
        tell(_raise(error))


def test_a_listener_can_copy_and_write_what_it_is_told(tell: Any) -> None:
    copies: list[Any] = []
    tell(lambda told: copies.extend((dict(told), copy.deepcopy(told), json.loads(json.dumps(told)))))
    assert copies == [METRICS] * 3
    copies[1]["loss"] = 0
