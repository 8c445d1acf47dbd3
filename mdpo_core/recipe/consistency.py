"""Finds options in different sections of a recipe that contradict each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from types import NoneType
from typing import Any

from mdpo_core.errors import PluginError, Problem, RecipeError, first_line, raised, shown, suggestion
from mdpo_core.interfaces.optimizer import AdamW
from mdpo_core.interfaces.parts import trained_in_full
from mdpo_core.interfaces.plugin_results import told_by_plugin
from mdpo_core.interfaces.reader import Reader
from mdpo_core.interfaces.term import Loss, Term
from mdpo_core.recipe.checks.cached_reference import not_in_cache
from mdpo_core.recipe.checks.declarations import problems_of_declarations
from mdpo_core.recipe.checks.experts import compiled_routers, routers
from mdpo_core.recipe.checks.goals import goals
from mdpo_core.recipe.checks.grouping import grouping
from mdpo_core.recipe.checks.held_out import held_out
from mdpo_core.recipe.checks.metric_names import metric_names
from mdpo_core.recipe.checks.needs import Need, needs_of_corruption, needs_of_term
from mdpo_core.recipe.checks.sources import evaluators_by_source, metrics_by_source
from mdpo_core.recipe.checks.steps import steps
from mdpo_core.recipe.checks.streaming import streaming
from mdpo_core.recipe.checks.strengths import noise_in_batch_means, strengths
from mdpo_core.recipe.checks.unchecked import unchecked
from mdpo_core.recipe.checks.workers import workers
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.recipe.sections import Found, Sections, sections_of
from mdpo_core.recipe.yaml_document import Keys
from mdpo_core.types.view import CLEAN, is_name


def check_consistency(recipe: Recipe, processes: int = 1) -> None:
    """Raise `RecipeError` with every problem between the sections of a recipe."""
    pieces = {name: getattr(recipe, name) for name in type(recipe).model_fields}
    found = [Problem("", ".".join(map(str, keys)), text) for keys, text in inconsistencies(pieces, processes)]
    if found:
        raise RecipeError(found)


def inconsistencies(pieces: Mapping[str, Any], processes: int, trains: bool = True) -> Found:
    """Problems between the valid sections, as YAML path and message.

    ``trains``: whether the objective is computed, so that the data must have what it reads.
    """
    sections = sections_of(pieces, processes, trains)
    wrong = [(position, text) for position, term in sections.terms for text in _wrong_declarations(term)]
    if wrong:  # every check reads the declarations
        yield from ((("objective", position), text) for position, text in wrong)
        return
    for check, needed in _CHECKS.items():
        if needed <= sections.names:
            yield from check(sections)


def _wrong_declarations(term: Term) -> list[str]:
    """What is wrong with what a term declares, or the error that it raises while it declares it."""
    try:
        return list(problems_of_declarations(term))
    except ValueError as error:  # an option is not a valid name of a view
        return [first_line(error)]
    except Exception as error:
        return [f"{type(term).__name__} {raised(error)} when it declares what it reads"]


def can_be_cached(recipe: Recipe) -> bool:
    """Whether all terms and evaluators work with ``reference: cached``."""
    return not any(not_in_cache(list(enumerate(recipe.objective)), list(enumerate(recipe.evaluators))))


def _conditions(sections: Sections) -> Found:
    corruptions = sections.corruptions
    for position, term in sections.terms:
        for view in dict.fromkeys(term.views()):
            if view.condition != CLEAN and view.condition not in corruptions:
                key = next((name for name, value in term if value == view), "")
                declared = ", ".join(corruptions) or "none"
                near = suggestion(view.condition, corruptions)
                yield (
                    ("objective", position, key) if key else ("objective", position),
                    f"view '{view}' needs the condition '{view.condition}' under corruptions{near}  "
                    f"(declared: {declared})",
                )


def _needs(sections: Sections) -> Found:
    yield from _missing(sections, sections.data)


def _needs_in_validation(sections: Sections) -> Found:
    assert sections.validation is not None, "a section that the check asks for"
    for (section, *rest), text in _missing(sections, sections.validation):
        yield ("validation",), f"{'.'.join(map(str, (section, *rest)))} {text}"


def _missing(sections: Sections, reader: Reader) -> Found:
    """What terms and corruptions read and the rows of ``reader`` do not have."""
    source = f"gives() of the reader '{reader.component_name()}'"
    given = told_by_plugin(source, reader.gives, (Mapping, NoneType), "names by field, or None")
    if given is None or not sections.trains:
        return
    for field, names in given.items():
        if isinstance(names, str) or not isinstance(names, Collection):
            raise PluginError(f"{source} must return collections of names; it returned {shown(names)} for {field!r}")
    for keys, needs in _needed(sections):
        for need in dict.fromkeys(needs):
            names = given.get(need.field, ())
            if need.name not in names:
                near = suggestion(need.name, names)
                yield keys, f"needs {need}{near}  (rows have: {', '.join(names) or 'none'}){need.hint()}"


def _needed(sections: Sections) -> Iterator[tuple[Keys, Iterator[Need]]]:
    used = {view.condition for _, term in sections.terms for view in term.views()}
    for position, term in sections.terms:
        yield ("objective", position), needs_of_term(term)
    for name, corruption in sections.corruptions.items():
        if name in used and corruption is not None:
            yield ("corruptions", name), needs_of_corruption(name, corruption)


def _compared(sections: Sections) -> Found:
    for position, term in sections.terms:
        views = term.views()
        repeated = next((view for index, view in enumerate(views) if view in views[:index]), None)
        if isinstance(term, Loss) and repeated is not None:
            yield ("objective", position), f"compares the view '{repeated}' with itself, which trains nothing"


def _labels(sections: Sections) -> Found:
    counts = Counter(term.label for _, term in sections.terms if term.label is not None)
    for position, term in sections.terms:
        if term.label is not None and counts[term.label] > 1:
            yield (
                ("objective", position, "label"),
                f"another term also has the label '{term.label}'; labels must differ",
            )


def _sizes(sections: Sections) -> Found:
    train, processes = sections.train, sections.processes
    at_once = train.micro_batch_size * processes
    if train.batch_size % at_once:
        below = train.batch_size // at_once * at_once
        works = f"{below} or {below + at_once}" if below else str(at_once)
        yield (
            ("train", "batch_size"),
            f"{train.batch_size} is not divisible by micro_batch_size times processes "
            f"({train.micro_batch_size} x {processes}); {works} would work",
        )
    if not all(0 <= beta < 1 for beta in train.adam_betas):
        yield ("train", "adam_betas"), f"each must be at least 0 and below 1, found {list(train.adam_betas)}"


def _processes(sections: Sections) -> Found:
    if sections.processes > 1 and not sections.backend.multi_process:
        name = sections.backend.component_name()
        yield ("backend",), f"'{name}' runs in one process, not in {sections.processes}"


def _probes(sections: Sections) -> Found:
    for position, term in sections.terms:
        if term.probes() and not sections.backend.trains_probes:
            yield (
                ("objective", position),
                "trains an extra module beside the model, which the backend "
                f"'{sections.backend.component_name()}' cannot do; use 'local'",
            )


def _reference(sections: Sections) -> Found:
    if sections.reference == "adapter_off" and not sections.model.has_lora:
        yield (
            ("reference",),
            "'adapter_off' needs model.lora: there is no adapter to switch off; use 'frozen_copy'",
        )


def _rounds_updates(sections: Sections) -> Found:
    reason = sections.backend.refuses_full_training
    weights = trained_in_full(sections.model.training)
    if sections.trains and reason and weights:
        yield ("backend", "precision"), f"{reason}  (not through LoRA train: {'; '.join(weights)})"


def _optimizer(sections: Sections) -> Found:
    optimizer = sections.train.chosen_optimizer
    if sections.backend.takes_optimizers or isinstance(optimizer, AdamW):
        return
    yield (
        ("train", "optimizer"),
        f"the backend '{sections.backend.component_name()}' updates weights by torch's AdamW alone, not by "
        f"'{optimizer.component_name()}'; use adamw, or the backend 'local'",
    )


def _noise(sections: Sections) -> Found:
    if sections.train.neftune_noise_alpha is not None and not sections.model.takes_noise:
        adapter = sections.model.component_name()
        yield ("train", "neftune_noise_alpha"), f"the adapter '{adapter}' has no embeddings for noise; use null"


def _compiles(sections: Sections) -> Found:
    if not sections.scoring.compile:
        return
    reason = sections.backend.refuses_compiling
    if not sections.scoring.share_prefix:
        reason = "only rows with shared prompts are compiled, and scoring.share_prefix is false"
    reason = reason or sections.model.refuses_compiling  # which may read the model's configuration
    if reason:
        yield ("scoring", "compile"), f"{reason}; set scoring.compile: false"


def _frozen_copy(sections: Sections) -> Found:
    automatic = sections.reference == "auto" and not sections.model.has_lora
    if not sections.backend.splits_frozen_copy or not (automatic or sections.reference == "frozen_copy"):
        return
    for position, term in sections.terms:
        if any(statistic.needs_reference for statistic in term.statistics().values()):
            yield (
                ("objective", position),
                "compares whole distributions with those of a frozen copy, whose weights this backend splits; "
                "use LoRA with 'reference: adapter_off', or a lower ZeRO stage",
            )


def _cached(sections: Sections) -> Found:
    if sections.reference == "cached" and any(term.reads_reference for _, term in sections.terms):
        yield from not_in_cache(sections.terms, sections.evaluators)


def _has_terms(sections: Sections) -> Found:
    if not sections.num_terms:
        yield ("objective",), "needs at least one term"


def _condition_names(sections: Sections) -> Found:
    for name in sections.corruptions:
        if name == CLEAN:
            yield ("corruptions", name), f"the name '{CLEAN}' is reserved for the original image; choose another name"
        elif not is_name(name):
            yield (
                ("corruptions", name),
                "is not a valid name of a condition: at most 100 letters, digits, '_' and '-', and first a letter or "
                "'_'",
            )


def _weights(sections: Sections) -> Found:
    terms = [term for _, term in sections.terms]
    if terms and len(terms) == sections.num_terms and not any(term.weight for term in terms):
        yield ("objective",), "every term has the weight 0, so nothing would train; give one of them a weight above 0"


# Each check, and the sections that it needs.
_CHECKS: Mapping[Callable[[Sections], Found], frozenset[str]] = {
    _conditions: frozenset(),
    _labels: frozenset(),
    _compared: frozenset(),
    _needs: frozenset({"data"}),
    _sizes: frozenset({"train"}),
    _processes: frozenset({"backend"}),
    _probes: frozenset({"backend"}),
    _reference: frozenset({"model", "reference"}),
    _cached: frozenset({"reference"}),
    _has_terms: frozenset({"objective"}),
    _rounds_updates: frozenset({"model", "backend"}),
    _optimizer: frozenset({"train", "backend"}),
    _noise: frozenset({"train", "model"}),
    routers: frozenset({"train", "model"}),
    compiled_routers: frozenset({"train", "scoring"}),
    _compiles: frozenset({"model", "backend", "scoring"}),
    _frozen_copy: frozenset({"model", "reference", "backend"}),
    _condition_names: frozenset({"corruptions"}),
    _weights: frozenset({"objective"}),
    strengths: frozenset(),
    noise_in_batch_means: frozenset({"train"}),
    workers: frozenset({"data", "train"}),
    metrics_by_source: frozenset({"data", "train"}),
    evaluators_by_source: frozenset({"data"}),
    held_out: frozenset({"data"}),
    goals: frozenset({"train"}),
    metric_names: frozenset(),
    steps: frozenset({"train"}),
    grouping: frozenset({"data", "train"}),
    unchecked: frozenset({"data"}),
    _needs_in_validation: frozenset({"validation"}),
    streaming: frozenset({"data"}),
}
