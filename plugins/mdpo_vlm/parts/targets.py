"""The modules that get adapters, and those that train whole beside them, found by what a recipe says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from mdpo_core import ALL_LINEAR, Lora, Part, PartTraining, RecipeError
from mdpo_vlm.families import Family
from mdpo_vlm.parts.idle import idle_parameters
from mdpo_vlm.parts.names import PartNames

_LINEAR = (nn.Linear, Conv1D)
_ADAPTABLE = (*_LINEAR, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_LISTS = (nn.ModuleList, nn.ModuleDict)
_NAMES_IN_MESSAGES = 12


@dataclass(frozen=True)
class Chosen:
    """Modules by their full names: those that get adapters, of each part, and those that train whole beside them."""

    targets: Mapping[Part, Sequence[str]]
    save: Sequence[str]


def choose(base: PreTrainedModel, family: Family, training: Mapping[Part, PartTraining]) -> Chosen:
    """Raises `RecipeError` with every pattern that matches nothing, or what cannot train so.

    A parameter that stands in no module of its part but in one around several (LLaVA-NeXT's ``image_newline``) is in
    none of them: peft's files have no place for it.
    """
    modules = _Modules(base, family)
    save: list[str] = []
    for part, each in training.items():
        if each.lora is not None:
            save += modules.saved(part, each.lora)
        elif each.mode == "full":
            save += modules.whole(part)
    targets = {part: modules.targets(part, each.lora, save) for part, each in training.items() if each.lora is not None}
    modules.require_some(targets, training)
    if modules.problems:
        raise RecipeError("\n".join(modules.problems))
    return Chosen(targets, sorted(save))


class _Modules:
    """A plain model's modules; ``problems`` gathers what is wrong with what was asked for."""

    def __init__(self, base: PreTrainedModel, family: Family) -> None:
        self.problems: list[str] = []
        self._modules = dict(base.named_modules())
        self._head = base.get_output_embeddings()
        self._encoder = base.get_encoder("image")
        self._idle = idle_parameters(base, family)
        self._shared = _shared(base)
        names = PartNames(base, family)
        self._of_part: dict[Part, list[str]] = {"vision": [], "projector": [], "language": []}
        for name, module in self._modules.items():
            parts = {names.part_of(f"{name}.{inner}") for inner, _ in module.named_parameters()}
            if len(parts) == 1 and name:
                self._of_part[parts.pop()].append(name)

    def targets(self, part: Part, lora: Lora, save: Sequence[str]) -> list[str]:
        """What gets an adapter: nothing that is saved whole, or that no gradient would reach."""
        found: set[str] = set()
        for pattern in lora.targets:
            where = f"{_option(part)}.targets"
            if pattern == ALL_LINEAR:
                found |= {name for name in self._of_part[part] if self._is_inner_linear(name)}
                continue
            matching = self._matching(part, pattern, where)
            fit = [name for name in matching if isinstance(self._modules[name], _ADAPTABLE)]
            reached = [name for name in fit if not self._has_idle(name)]
            if matching and not fit:
                self._report(where, pattern, f"{self._kind(matching[0])}, to which LoRA is not fit; name linear layers")
            elif fit and not reached:
                self._report(where, pattern, f"{fit[0]}, which no gradient reaches")
            found.update(name for name in reached if not self._is_shared(where, pattern, name))
        return sorted(
            name for name in found if not name.startswith(tuple(f"{each}." for each in save)) | (name in save)
        )

    def saved(self, part: Part, lora: Lora) -> list[str]:
        """The outermost modules of those that are to train whole."""
        found: list[str] = []
        for pattern in lora.save:
            where = f"{_option(part)}.save"
            for name in _outermost(self._matching(part, pattern, where)):
                if isinstance(self._modules[name], _LISTS):
                    self._report(where, pattern, f"{self._kind(name)}; name what is in it: {pattern}.*")
                elif not all(value.is_floating_point() for value in self._modules[name].parameters()):
                    self._report(where, pattern, f"{name}, whose quantized weights cannot train")
                elif self._has_idle(name):
                    self._report(where, pattern, f"{name}, which has weights that no gradient reaches")
                elif not self._is_shared(where, pattern, name):
                    found.append(name)
        return _outermost(found)

    def whole(self, part: Part) -> list[str]:
        """The largest modules that hold all that can train of a part."""
        fit = [
            name
            for name in self._of_part[part]
            if not isinstance(self._modules[name], _LISTS)
            and self._modules[name] is not self._encoder
            and not self._has_idle(name)
        ]
        return _outermost(fit)

    def require_some(self, targets: Mapping[Part, Sequence[str]], training: Mapping[Part, PartTraining]) -> None:
        """A part of bare parameters has nothing that could be adapted."""
        for part, names in targets.items():
            lora = training[part].lora
            if not names and lora is not None and ALL_LINEAR in lora.targets:
                self.problems.append(f"{_option(part)}: there is no linear layer in the {part} part that could train")

    def _matching(self, part: Part, pattern: str, where: str) -> list[str]:
        found = [name for name in self._of_part[part] if _matches(name, pattern)]
        if not found:
            elsewhere = [of for of, names in self._of_part.items() if any(_matches(name, pattern) for name in names)]
            self.problems.append(
                f"{where}: '{pattern}' matches no module of the {part} part{self._hint(part, pattern, elsewhere)}"
            )
        return found

    def _hint(self, part: Part, pattern: str, elsewhere: Sequence[Part]) -> str:
        if elsewhere:
            return f", but of the {elsewhere[0]} part, which model.parts.{elsewhere[0]} is about"
        known = list(dict.fromkeys(_words(self._of_part[part])))
        near = get_close_matches(pattern.rpartition(".")[2], known, n=1)
        there = ", ".join([*known[:_NAMES_IN_MESSAGES], *(["..."] if len(known) > _NAMES_IN_MESSAGES else [])])
        return f"{f'; did you mean {near[0]!r}?' if near else ''}  (there: {there})"

    def _is_inner_linear(self, name: str) -> bool:
        module = self._modules[name]
        # torch's own attention takes its layers' weights, and calls none of them.
        around = self._modules.get(name.rpartition(".")[0])
        inner = module is not self._head and not isinstance(around, nn.MultiheadAttention)
        return isinstance(module, _LINEAR) and inner and not self._has_idle(name)

    def _has_idle(self, name: str) -> bool:
        return any(f"{name}.{inner}" in self._idle for inner, _ in self._modules[name].named_parameters())

    def _is_shared(self, where: str, pattern: str, name: str) -> bool:
        shared = [f"{name}.{inner}" for inner, _ in self._modules[name].named_parameters(remove_duplicate=False)]
        others = [other for each in shared for other in self._shared.get(each, ()) if other not in shared]
        if others:
            self._report(
                where, pattern, f"{name}, whose weights are also {others[0]}: neither can train without the other"
            )
        return bool(others)

    def _kind(self, name: str) -> str:
        return f"{name} ({type(self._modules[name]).__name__})"

    def _report(self, where: str, pattern: str, what: str) -> None:
        self.problems.append(f"{where}: '{pattern}' matches {what}")


def _option(part: Part) -> str:
    return "model.lora" if part == "language" else f"model.parts.{part}.lora"


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"*.{pattern}")


def _outermost(names: Iterable[str]) -> list[str]:
    found: list[str] = []
    # A name comes before those of what is in it.
    for name in sorted(set(names), key=len):
        if not name.startswith(tuple(f"{outer}." for outer in found)):
            found.append(name)
    return sorted(found)


def _words(names: Iterable[str]) -> Iterable[str]:
    """The last words of names, without numbers."""
    return (word for word in (name.rpartition(".")[2] for name in names) if not word.isdigit())


def _shared(base: nn.Module) -> dict[str, list[str]]:
    """Names of each parameter that has several, by each of them."""
    names: dict[int, list[str]] = {}
    for name, value in base.named_parameters(remove_duplicate=False):
        names.setdefault(id(value), []).append(name)
    return {name: group for group in names.values() if len(group) > 1 for name in group}
