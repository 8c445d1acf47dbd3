"""Find what a recipe's patterns name: modules and experts that get adapters, and modules that train in full."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

from transformers import PreTrainedModel

from mdpo_core import ALL_LINEAR, Lora, Part, PartTraining, RecipeError
from mdpo_vlm.families import Family
from mdpo_vlm.parts.modules import Modules, is_inside, outermost

_NAMES_IN_MESSAGES = 12
_EXPERTS = "experts"
_NO_DORA = "peft adapts experts without DoRA; leave the experts out of targets, or set dora: false"


@dataclass(frozen=True)
class Chosen:
    """Full names of modules: ``targets`` get adapters, by part; ``save`` train in full.

    ``experts``: full names of parameters with one matrix for each expert, which get adapters.
    """

    targets: Mapping[Part, Sequence[str]]
    save: Sequence[str]
    experts: Sequence[str] = ()


@dataclass(frozen=True)
class Match:
    """The modules that one pattern matches: ``names`` can train; each reason says why another cannot.

    ``experts``: the matching parameters with one matrix for each expert, in `Chosen`.
    """

    names: Sequence[str]
    reasons: Sequence[str] = ()
    experts: Sequence[str] = ()


# The match of each pattern, for each part that trains by LoRA.
Matches = Mapping[Part, Mapping[str, Match]]


def choose(base: PreTrainedModel, family: Family, training: Mapping[Part, PartTraining]) -> Chosen:
    """Find the modules that ``training`` names. Raises `RecipeError` with all patterns that cannot be used.

    Some parameters are in no module of their own part, only in a module that contains several parts (LLaVA-NeXT's
    ``image_newline``). They are not chosen, because peft's files cannot contain them.
    """
    modules = Modules(base, family)
    loras = {part: each.lora for part, each in training.items() if each.lora is not None}
    saves: Matches = {
        part: {pattern: _resolve_save(modules, part, pattern) for pattern in lora.save} for part, lora in loras.items()
    }
    matches: Matches = {
        part: {pattern: _resolve_target(modules, part, pattern) for pattern in lora.targets}
        for part, lora in loras.items()
    }
    in_full = [name for part, each in training.items() if each.mode == "full" for name in _all_of(modules, part)]
    save = sorted([*in_full, *(name for part in loras for name in outermost(_names(saves[part])))])
    targets = {part: [name for name in _names(matches[part]) if not _is_saved(name, save)] for part in loras}
    experts = {part: [name for name in _experts_in(matches[part]) if not _is_saved(name, save)] for part in loras}
    problems = [*_problems("save", saves), *_problems("targets", matches), *_without_layers(targets, loras)]
    problems += _saved_whole(matches, save)
    problems += [f"{_lora_option(part)}.dora: {_NO_DORA}" for part in loras if experts[part] and loras[part].dora]
    if problems:
        raise RecipeError("\n".join(problems))
    return Chosen(targets, save, [each for part in loras for each in experts[part]])


def _resolve_target(modules: Modules, part: Part, pattern: str) -> Match:
    """The modules that get an adapter. A module that no gradient reaches gets none."""
    if pattern == ALL_LINEAR:
        return Match([name for name in modules.of_part[part] if modules.is_inner_linear(name)])
    matching = _matching(modules, part, pattern)
    experts = _experts(modules, part, pattern, matching)
    if experts:
        layers = [name for name in matching if modules.is_adaptable(name) and not modules.is_like_expert(name)]
        return Match(layers, experts=experts)
    if not matching:
        return Match((), [_nothing_matches(modules, part, pattern, f"{_EXPERTS}.{{}}")])
    adaptable = [name for name in matching if modules.is_adaptable(name)]
    if not adaptable:
        return Match((), [f"{modules.with_type(matching[0])}, which LoRA cannot adapt; name linear layers"])
    reached = [name for name in adaptable if not modules.has_idle(name)]
    if not reached:
        return Match((), [f"{adaptable[0]}, which no gradient reaches"])
    named_alike = [name for name in reached if modules.is_like_expert(name)]
    if named_alike:
        return Match((), [f"{named_alike[0]}, whose name peft takes for that of an expert; name other layers"])
    tied = {name: reason for name in reached if (reason := _tied_reason(modules, name)) is not None}
    return Match([name for name in reached if name not in tied], list(tied.values()))


def _resolve_save(modules: Modules, part: Part, pattern: str) -> Match:
    """The outermost modules that train in full and are saved with the adapters."""
    matching = _matching(modules, part, pattern)
    if not matching:
        return Match((), [_nothing_matches(modules, part, pattern, _EXPERTS)])
    reasons = {name: _save_reason(modules, name, pattern) for name in outermost(matching)}
    return Match(
        [name for name, reason in reasons.items() if reason is None],
        [reason for reason in reasons.values() if reason is not None],
    )


def _save_reason(modules: Modules, name: str, pattern: str) -> str | None:
    """Why a module cannot train in full, or None if it can."""
    if modules.is_list(name):
        return f"{modules.with_type(name)}; name the modules in it: {pattern}.*"
    if modules.is_quantized(name):
        return f"{name}, whose quantized weights cannot train"
    if modules.has_idle(name):
        return f"{name}, which has weights that no gradient reaches"
    return _tied_reason(modules, name)


def _tied_reason(modules: Modules, name: str) -> str | None:
    other = modules.tied_to(name)
    return None if other is None else f"{name}, whose weights are also {other}: neither can train without the other"


def _all_of(modules: Modules, part: Part) -> list[str]:
    """The outermost modules that together contain everything in a part that can train."""
    return outermost(
        [
            name
            for name in modules.of_part[part]
            if not modules.is_list(name) and not modules.is_image_encoder(name) and not modules.has_idle(name)
        ]
    )


def _names(matches: Mapping[str, Match]) -> list[str]:
    return sorted({name for match in matches.values() for name in match.names})


def _experts_in(matches: Mapping[str, Match]) -> list[str]:
    return sorted({name for match in matches.values() for name in match.experts})


def _is_saved(name: str, save: Sequence[str]) -> bool:
    return name in save or is_inside(name, save)


def _matching(modules: Modules, part: Part, pattern: str) -> list[str]:
    return [name for name in modules.of_part[part] if _fits(name, pattern)]


def _fits(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"*.{pattern}")


def _experts(modules: Modules, part: Part, pattern: str, matching: Sequence[str]) -> list[str]:
    """The parameters of experts that a pattern names, which must say ``experts``: they may be most of a model."""
    if _EXPERTS not in pattern:
        return []
    return [name for name in modules.experts[part] if _fits(name, pattern) or name.rpartition(".")[0] in matching]


def _problems(option: str, matches: Matches) -> Iterator[str]:
    for part, of_part in matches.items():
        for pattern, match in of_part.items():
            yield from (f"{_lora_option(part)}.{option}: '{pattern}' matches {reason}" for reason in match.reasons)


def _without_layers(targets: Mapping[Part, Sequence[str]], loras: Mapping[Part, Lora]) -> Iterator[str]:
    """The problem of each part in which ``all-linear`` finds no layer to adapt."""
    for part, names in targets.items():
        if not names and ALL_LINEAR in loras[part].targets:
            yield f"{_lora_option(part)}: there is no linear layer in the {part} part that could train"


def _saved_whole(matches: Matches, save: Sequence[str]) -> Iterator[str]:
    """The problem of each target all of whose modules train in full; peft refuses that if there is no other target."""
    for part, of_part in matches.items():
        for pattern, match in of_part.items():
            found = [*match.names, *match.experts]
            if pattern != ALL_LINEAR and found and all(_is_saved(name, save) for name in found):
                only = f"matches only what save trains in full, such as {found[-1]}"
                yield f"{_lora_option(part)}.targets: '{pattern}' {only}; leave it out of targets or of save"


def _nothing_matches(modules: Modules, part: Part, pattern: str, expert: str) -> str:
    """Why a pattern matches nothing. ``expert``: what would name a matrix of experts, with its name in the braces."""
    others = [other for other in modules.of_part if other != part and _matching(modules, other, pattern)]
    if others:
        return f"no module of the {part} part, but one of the {others[0]} part; set model.parts.{others[0]} for that"
    last_words = (name.rpartition(".")[2] for name in modules.of_part[part])
    known = list(dict.fromkeys(word for word in last_words if not word.isdigit()))
    matrices = {name.rpartition(".")[2] for name in modules.experts[part]}
    inside = {matrix: expert.format(matrix) for matrix in sorted(matrices)}
    ways = inside if f"{_EXPERTS}." in pattern else {word: word for word in known} | inside
    near = get_close_matches(pattern.rpartition(".")[2], ways, n=1)
    hint = f"; did you mean {ways[near[0]]!r}?" if near else ""
    listed = ", ".join([*known[:_NAMES_IN_MESSAGES], *(["..."] if len(known) > _NAMES_IN_MESSAGES else [])])
    return f"no module of the {part} part{hint}  (modules: {listed})"


def _lora_option(part: Part) -> str:
    return "model.lora" if part == "language" else f"model.parts.{part}.lora"
