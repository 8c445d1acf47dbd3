"""Runs the contracts of an installed plugin's components, so that its author need not call them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from traceback import FrameSummary
from typing import Any

from pydantic import ValidationError

from mdpo_core.errors import PluginError, RecipeError, suggestion
from mdpo_core.interfaces.backend import Backend
from mdpo_core.interfaces.component import Component
from mdpo_core.interfaces.corruption import Corruption
from mdpo_core.interfaces.evaluator import RowLogProb, RunSize, Sample
from mdpo_core.interfaces.optimizer import Optimizer
from mdpo_core.interfaces.term import Anchor
from mdpo_core.interfaces.train_options import Train
from mdpo_core.processes.world import ALONE
from mdpo_core.registry.discovery import current_registry
from mdpo_core.registry.installed import Installed, installed_plugins
from mdpo_core.registry.offers import KINDS
from mdpo_core.registry.plugin_files import SUFFIX, use_plugin_file
from mdpo_core.testing.anchors import check_anchor
from mdpo_core.testing.corruptions import check_corruption
from mdpo_core.testing.engines.backends import check_backend
from mdpo_core.testing.engines.optimizers import check_optimizer
from mdpo_core.testing.losses import check_loss
from mdpo_core.testing.readers import check_reader
from mdpo_core.testing.sentences import frame_of
from mdpo_core.testing.strengths.contract import check_strength
from mdpo_core.testing.watchers import check_evaluator, check_tracker
from mdpo_core.types.example import Example

# Tolerance of log-probs for backends that compute below float32 by default.
_HALF = 0.03


class NeedsMoreToTry(Exception):
    """A component cannot be checked with default options; the message says what is missing."""


@dataclass(frozen=True)
class ContractCase:
    """A component to check against the contract of its kind.

    A class with a classmethod ``contract(folder)`` uses only that; other classes are checked with default options
    against the general contract.
    """

    kind: str
    name: str
    component: type[Component]

    def __call__(self, folder: Path) -> None:
        """Check the component. Raises `AssertionError` if it breaks its contract, or `NeedsMoreToTry`.

        ``folder`` must be empty.
        """
        own = getattr(self.component, "contract", None)
        if callable(own):
            own(folder)
        elif self.kind in _CONTRACTS:
            _CONTRACTS[self.kind](self._made(), folder)
        else:
            raise self._needs_more(_NEEDED[self.kind])

    def frame_of(self, error: BaseException) -> FrameSummary:
        """The frame in the component's package that raised an exception, or the innermost frame if none is there."""
        return frame_of(self.component, error)

    def _made(self) -> Component:
        required = [name for name, field in self.component.model_fields.items() if field.is_required()]
        if required:
            raise self._needs_more(f"the options {', '.join(required)}")
        try:
            return self.component()
        except ValidationError as error:
            raise self._needs_more(f"options ({'; '.join(each['msg'] for each in error.errors())})") from error

    def _needs_more(self, needs: str) -> NeedsMoreToTry:
        return NeedsMoreToTry(
            f"the {self.kind} '{self.name}' needs {needs}: call check_{self.kind} in your own test, or in a "
            "classmethod contract(folder) of the component"
        )


def contract_cases(plugin: str) -> list[ContractCase]:
    """The contracts of a plugin: a Python file, or an installed one by its entry point, its module or its package.

    Raises `PluginError` if the plugin does not exist, or if it offers no component.
    """
    owners = {use_plugin_file(plugin).path.name} if Path(plugin).suffix == SUFFIX else _installed(plugin)
    registry = current_registry()
    cases = [
        ContractCase(kind, name, cls)
        for kind in KINDS
        for name, cls in sorted(registry.components(kind).items())
        if registry.owner(kind, name) in owners
    ]
    if not cases:
        raise PluginError(f"the plugin '{plugin}' offers no component, so there is nothing to check")
    return cases


def _installed(plugin: str) -> set[str]:
    """The entry points that ``plugin`` names."""
    installed = installed_plugins()
    owners = {each.point.name for each in installed if _plain(plugin) in _names(each)}
    if not owners:
        known = {name for each in installed for name in _names(each)}
        raise PluginError(f"no installed plugin is named '{plugin}'{suggestion(plugin, sorted(known))}")
    return owners


def _names(plugin: Installed) -> set[str]:
    return {_plain(name) for name in (plugin.point.name, plugin.point.module, plugin.package)}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()


class _SteadyPolicy:
    """A policy that gives every example the same answer and metrics."""

    held_out = tuple(
        Example(f"held out {number}", "what is there ?", {"chosen": "a dog .", "rejected": "a cat ."})
        for number in range(2)
    )
    trained_on = held_out
    conditions: Mapping[str, Corruption] = {}
    size = RunSize(num_steps=10, pairs_a_step=4, num_views=2, num_conditions=0)

    def keep_samples(self, samples: Sequence[Sample]) -> None:
        return

    def log_probs(
        self, examples: Sequence[Example], response: str = "chosen", corruption: Corruption | None = None
    ) -> list[RowLogProb]:
        return self.log_probs_of(examples, (response,), corruption)[response]

    def log_probs_of(
        self, examples: Sequence[Example], responses: Sequence[str], corruption: Corruption | None = None
    ) -> dict[str, list[RowLogProb]]:
        return {name: [RowLogProb(each.id, each.source, True, -40.0, 8) for each in examples] for name in responses}

    def generate(
        self, examples: Sequence[Example], max_new_tokens: int, *, temperature: float = 0.0, top_p: float = 1.0
    ) -> list[str]:
        return ["the picture shows two dogs ."] * len(examples)

    def answer(self, questions: Sequence[Example], max_new_tokens: int) -> list[str]:
        return self.generate(questions, max_new_tokens)

    def metrics(self, examples: Sequence[Example], *, by_source: bool = False) -> dict[str, float]:
        return {"loss": 1.0, "rewards/chosen": 0.25, "rewards/rejected": -0.25, "logps/chosen": -40.0}


def _try_anchor(anchor: Anchor) -> None:
    """Check an anchor in each direction; if it fails in all, raise the error for ``above``."""
    broken: list[AssertionError] = []
    for direction in ("above", "below", "both"):
        try:
            return check_anchor(anchor, direction=direction)
        except AssertionError as error:
            broken.append(error)
    raise broken[0]


def _try_backend(backend: Backend) -> None:
    try:
        backend.check(Train(), ALONE)
    except (RecipeError, PluginError) as error:
        raise NeedsMoreToTry(f"it cannot run here: {error}") from error
    check_backend(backend, tolerance=1e-5 if backend.arithmetic == "float32" else _HALF)


def _try_optimizer(optimizer: Optimizer) -> None:
    try:
        optimizer.check("cpu")
    except (RecipeError, PluginError) as error:
        raise NeedsMoreToTry(f"it cannot run here: {error}") from error
    check_optimizer(optimizer)


# What components of other kinds need to be tried.
_NEEDED = {"adapter": "examples for its model", "benchmark": "its files, and answers to its questions"}
# Adapters and benchmarks are missing. Properties that only some valid components have are left to their authors.
_CONTRACTS: Mapping[str, Callable[[Any, Path], None]] = {
    "loss": lambda loss, _: check_loss(loss, differences_only=False),
    "anchor": lambda anchor, _: _try_anchor(anchor),
    "corruption": lambda corruption, _: check_corruption(corruption, varies=None),
    "reader": lambda reader, _: check_reader(reader),
    "backend": lambda backend, _: _try_backend(backend),
    "optimizer": lambda optimizer, _: _try_optimizer(optimizer),
    "evaluator": lambda evaluator, folder: check_evaluator(evaluator, _SteadyPolicy(), folder),
    "strength": lambda strength, _: check_strength(strength),
    "tracker": check_tracker,
}
