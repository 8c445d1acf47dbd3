"""A recipe: everything that decides a run, typed, immutable and printable."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, ValidationError, field_validator, model_validator

from mdpo_core.errors import PluginError, Problem, RecipeError, suggestion
from mdpo_core.interfaces.adapter import ModelAdapter
from mdpo_core.interfaces.backend import Backend
from mdpo_core.interfaces.component import Component, Section
from mdpo_core.interfaces.corruption import Corruption
from mdpo_core.interfaces.evaluator import Evaluator
from mdpo_core.interfaces.reader import Reader
from mdpo_core.interfaces.term import Term
from mdpo_core.interfaces.tracker import Tracker
from mdpo_core.interfaces.train_options import KeepBest, Train
from mdpo_core.recipe.names.other_trainers import answer_for
from mdpo_core.registry.discovery import current_registry, make_component

ReferenceKind = Literal["adapter_off", "frozen_copy", "cached"]
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Scoring(Section):
    """How log-probs are computed. The options change time and memory, but no results."""

    share_prefix: bool = Field(
        default=True,
        description="compute each prompt and picture once for all its responses, and the tokens with which all of "
        "these begin, where the model can; false: one sequence for each view",
    )
    max_logits: Literal["auto"] | Annotated[int, Field(gt=0)] | None = Field(
        default="auto",
        description="logits that are in memory at once; auto: 2**23 on a CPU and 2**26 on a GPU; null: those of all "
        "response tokens",
    )
    attention: Literal["auto", "sdpa"] = Field(
        default="auto",
        description="over shared prompts: FlexAttention on CUDA and SDPA elsewhere (auto), or SDPA everywhere",
    )
    activation_checkpointing: Literal["off", "full"] | Annotated[int, Field(gt=0)] = Field(
        default="off",
        description="recompute activations in backward instead of keeping them: off, full (in every layer), or a "
        "number n (in every n-th layer)",
    )
    compile: bool = Field(
        default=False,
        description="compile the language model's layers with torch.compile; costs about a minute at the start, so for "
        "long runs; needs shared prompts and a compiler",
    )


class Output(Section):
    """Where a run is written."""

    dir: Path = Field(description="the run directory")
    save_every: int = Field(default=100, gt=0, description="steps between checkpoints; the last step is always saved")
    keep: int = Field(default=2, gt=0, description="checkpoints that are kept, newest first")
    keep_best: KeepBest | None = Field(
        default=None,
        description="also keep the checkpoint that is best by a metric of the evaluations, and export it as best/",
    )
    reference: Path | None = Field(
        default=None,
        description="folder of the cached reference, which runs may share; default: reference/ in the run directory",
    )

    @field_validator("dir", "reference", mode="before")
    @classmethod
    def _is_named(cls, path: Any) -> Any:
        """Refuse an empty name, which would stand for the current folder."""
        if path == "":
            raise ValueError("the folder's name is empty")
        return path


class Recipe(BaseModel):
    """A run, as data: cheap, immutable, printable."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: SerializeAsAny[ModelAdapter] = Field(description="what is trained")
    data: SerializeAsAny[Reader] = Field(description="the preference pairs")
    validation: SerializeAsAny[Reader] | None = Field(
        default=None, description="held-out rows by a reader of their own, for evaluators; or use data.hold_out"
    )
    corruptions: Mapping[str, SerializeAsAny[Corruption]] = Field(
        default_factory=dict, description="image conditions by name; views are written response@name"
    )
    objective: tuple[SerializeAsAny[Term], ...] = Field(min_length=1, description="the terms whose sum is minimized")
    train: Train = Field(default_factory=Train, description="how the policy is optimized")
    scoring: Scoring = Field(default_factory=Scoring, description="how log-probs are computed")
    reference: Literal["auto", ReferenceKind] = Field(
        default="auto",
        description="log-ratios compare the policy with: itself with LoRA switched off (adapter_off), a second model "
        "(frozen_copy), or log-probs computed before training (cached); auto: adapter_off with LoRA, frozen_copy "
        "without",
    )
    backend: SerializeAsAny[Backend] = Field(description="what runs it")
    evaluators: tuple[SerializeAsAny[Evaluator], ...] = Field(default=(), description="measurements of the policy")
    probe: Literal["auto", "off"] = Field(
        default="auto",
        description="whether the preference needs the picture, measured on a few rows in every run that is long enough "
        "(auto), or not (off); an evaluator 'probe' replaces it",
    )
    trackers: tuple[SerializeAsAny[Tracker], ...] = Field(default=(), description="logs besides metrics.jsonl")
    output: Output = Field(description="where the run is written")
    plugins: tuple[Path, ...] = Field(
        default=(), description="Python files whose components this recipe uses, as paths relative to the recipe's file"
    )

    @model_validator(mode="after")
    def _components_have_names(self) -> Self:
        """Components need names, so that the recipe can print itself, later and in any process.

        A class that nobody has registered gets its own name, such as ``my_loss`` for ``MyLoss``.
        """
        if not all(component.has_name() for component in self.components()):
            registry = current_registry()  # names the classes, which may have been imported without a registry
            for cls in dict.fromkeys(type(component) for component in self.components()):
                if not cls.has_name():
                    registry.add(_WORDS.sub("_", cls.__name__).lower(), cls)
        return self

    def with_(self, changes: Mapping[str, Any]) -> Self:
        """The recipe with other values by ``section.key``; a number names an item of a list, ``*`` all of them.

        ``recipe.with_({"train.seed": 1, "objective.0.beta": 0.2, "corruptions.crop": RandomCrop(area=(0.1, 0.2))})``.
        Raises `RecipeError` for a key that is not there, or a value that does not fit.
        """
        changed = self
        for key, value in changes.items():
            if key == "train.optimizer" and isinstance(value, str):
                value = _optimizer(value)
            # Where `*` finds nothing, it is named as a key that is not there.
            for path in _paths(self, key.split(".")) or [key.split(".")]:
                changed = _changed(changed, path, value, key)
        return changed

    def components(self) -> Iterator[Component]:
        """Every component that the recipe names."""
        yield from (
            self.model,
            self.data,
            *((self.validation,) if self.validation else ()),
            *self.corruptions.values(),
            *self.objective,
            *(strength for term in self.objective for strength in term.strengths().values()),
            *((self.train.optimizer,) if self.train.optimizer else ()),
            self.backend,
        )
        yield from (*self.evaluators, *self.trackers)

    def labels(self) -> tuple[str, ...]:
        """The name of each term in metrics: its label, or its position and component name."""
        return tuple(label_of(position, term) for position, term in enumerate(self.objective))

    def shares_prefix(self) -> bool:
        """Whether a prompt is computed once for all its responses: the model must be able to."""
        return self.scoring.share_prefix and self.model.shares_prefix

    def reference_kind(self) -> ReferenceKind | None:
        """The reference that ``auto`` stands for; None if no term needs one."""
        if not any(term.reads_reference for term in self.objective):
            return None
        if self.reference != "auto":
            return self.reference
        return "adapter_off" if self.model.has_lora else "frozen_copy"

    def to_dict(self) -> dict[str, Any]:
        """The recipe with every default filled in, as YAML would hold it."""
        return {name: _as_yaml_data(getattr(self, name)) for name in type(self).model_fields}


def _optimizer(name: str) -> Component:
    try:
        return make_component("optimizer", name)
    except PluginError as error:
        raise RecipeError([Problem("", "train.optimizer", str(error))]) from error


def _paths(holder: Any, keys: Sequence[str]) -> list[list[str]]:
    """The paths that ``keys`` name: ``*`` stands for every item or key that is there."""
    if "*" not in keys:
        return [list(keys)]
    before, after = keys[: keys.index("*")], keys[keys.index("*") + 1 :]
    for key in before:
        holder = _items(holder).get(key)
    return [[*before, name, *rest] for name, item in _items(holder).items() for rest in _paths(item, after)]


def _items(holder: Any) -> dict[str, Any]:
    """The items of a list, or the values of a mapping or a section, by the names that a path gives them."""
    items = enumerate(holder) if isinstance(holder, tuple) else dict(holder).items() if _has_items(holder) else ()
    return {str(name): item for name, item in items}


def _changed(holder: Any, keys: Sequence[str], value: Any, path: str) -> Any:
    """``holder`` with ``value`` in the place that ``keys`` lead to. ``path``: all keys, for messages."""
    if not keys:
        return value
    name, rest = keys[0], keys[1:]
    items = dict(enumerate(holder)) if isinstance(holder, tuple) else dict(holder) if _has_items(holder) else {}
    key = next((each for each in items if str(each) == name), name)
    if key not in items and (rest or not isinstance(holder, Mapping)):
        meant = "" if rest else _another_component(holder, path, value) or answer_for(path.split("."))
        near = meant or suggestion(name, map(str, items))
        there = "" if near.endswith(")") else f"  (there: {', '.join(map(str, items))})"
        raise RecipeError([Problem("", path, f"'{name}' does not exist{near}{there}")])
    items[key] = _changed(items.get(key), rest, value, path)
    if isinstance(holder, tuple):
        return tuple(items.values())
    if isinstance(holder, Mapping):
        return items
    try:
        make = type(holder).of if isinstance(holder, Term) else type(holder)
        return make(**{str(name): each for name, each in items.items()})
    except ValidationError as error:
        raise RecipeError([Problem("", path, _said(error))]) from error


def _another_component(holder: object, path: str, value: object) -> str:
    """How the component ``holder`` is replaced by one of another name; empty if ``path`` does not ask for that."""
    place, _, kind = path.rpartition(".")
    if not isinstance(holder, Component) or kind != holder.kind:
        return ""
    return f"; give another component as an object: with_({{'{place}': component('{kind}', {value!r})}})"


def _has_items(holder: object) -> bool:
    return isinstance(holder, (BaseModel, Mapping))


def _said(error: ValidationError) -> str:
    """What pydantic says of the first wrong value."""
    detail = error.errors()[0]
    return f"{detail['msg'].removeprefix('Value error, ')}, found {detail['input']!r}"


def label_of(position: int, term: Term) -> str:
    """The name of a term in metrics; see `Recipe.labels`."""
    return term.label or f"{position}:{term.component_name()}"


def _as_yaml_data(value: Any) -> Any:
    if isinstance(value, Component):
        named = {value.kind: value.component_name()}
        return named | value.model_dump(mode="json")
    if isinstance(value, BaseModel):
        inner = {name: _as_yaml_data(each) for name, each in value if isinstance(each, Component)}
        return value.model_dump(mode="json") | inner
    if isinstance(value, Mapping):
        return {key: _as_yaml_data(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_as_yaml_data(item) for item in value]
    return str(value) if isinstance(value, Path) else value
