"""What must fit together between the sections of a recipe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mdpo_core.components import Backend, Evaluator, ModelAdapter, Reader
from mdpo_core.declarations import problems_of_declarations
from mdpo_core.document import Keys
from mdpo_core.errors import Problem, RecipeError, suggestion
from mdpo_core.needs import Need, needs_of_corruption, needs_of_term
from mdpo_core.recipe import Recipe
from mdpo_core.registry import current_registry
from mdpo_core.terms import Loss, Term
from mdpo_core.train_options import Train
from mdpo_core.view import CLEAN

Found = Iterator[tuple[Keys, str]]


def check_consistency(recipe: Recipe, processes: int = 1) -> None:
    """Raise `RecipeError` with everything in a recipe that does not fit together."""
    pieces = {name: getattr(recipe, name) for name in type(recipe).model_fields}
    found = [Problem("", ".".join(map(str, keys)), text) for keys, text in inconsistencies(pieces, processes)]
    if found:
        raise RecipeError(found)


def inconsistencies(pieces: Mapping[str, Any], processes: int, trains: bool = True) -> Found:
    """Problems between those sections that are there, as YAML path and message.

    ``trains``: whether the objective is to be computed, and needs something of the data.
    """
    terms: list[tuple[int, Term]] = [
        (position, term) for position, term in enumerate(pieces.get("objective", ())) if term is not None
    ]
    corruptions = pieces.get("corruptions", {})
    wrong = [(position, text) for position, term in terms for text in problems_of_declarations(term)]
    if wrong:  # which everything below reads
        yield from ((("objective", position), text) for position, text in wrong)
        return
    yield from _conditions(terms, corruptions)
    yield from _labels(terms)
    yield from _compared(terms)
    if trains and pieces.get("data") is not None:
        yield from _needs(terms, corruptions, pieces["data"])
    if "train" in pieces:
        yield from _sizes(pieces["train"], processes)
    if "backend" in pieces:
        yield from _processes(pieces["backend"], processes)
        yield from _probes(terms, pieces["backend"])
    if "model" in pieces and "reference" in pieces:
        yield from _reference(pieces["model"], pieces["reference"])
    if pieces.get("reference") == "cached" and any(term.reads_reference for _, term in terms):
        yield from _cached(terms, pieces.get("evaluators", ()))
    if "objective" in pieces and not pieces["objective"]:
        yield ("objective",), "needs at least one term"
    if {"model", "reference", "backend"} <= pieces.keys() and pieces["backend"].splits_frozen_copy:
        yield from _frozen_copy(terms, pieces["model"], pieces["reference"])
    if CLEAN in corruptions:
        yield ("corruptions", CLEAN), f"'{CLEAN}' is the image as it was read; choose another name"


def can_be_cached(recipe: Recipe) -> bool:
    """Whether ``reference: cached`` suits terms and evaluators."""
    return not any(_cached(list(enumerate(recipe.objective)), recipe.evaluators))


def _conditions(terms: list[tuple[int, Term]], corruptions: Mapping[str, Any]) -> Found:
    for position, term in terms:
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


def _needs(terms: list[tuple[int, Term]], corruptions: Mapping[str, Any], reader: Reader) -> Found:
    given = reader.gives()
    if given is None:
        return
    used = {view.condition for _, term in terms for view in term.views()}
    places: list[tuple[Keys, Iterator[Need]]] = [
        *((("objective", position), needs_of_term(term)) for position, term in terms),
        *(
            (("corruptions", name), needs_of_corruption(name, corruption))
            for name, corruption in corruptions.items()
            if name in used and corruption is not None
        ),
    ]
    for keys, needs in places:
        for need in dict.fromkeys(needs):
            there = given.get(need.part, ())
            if need.name not in there:
                near = suggestion(need.name, there)
                yield keys, f"needs {need}{near}  (rows have: {', '.join(there) or 'none'}){need.hint()}"


def _compared(terms: list[tuple[int, Term]]) -> Found:
    for position, term in terms:
        views = term.views()
        repeated = next((view for place, view in enumerate(views) if view in views[:place]), None)
        if isinstance(term, Loss) and repeated is not None:
            yield ("objective", position), f"compares the view '{repeated}' with itself, which trains nothing"


def _labels(terms: list[tuple[int, Term]]) -> Found:
    counts = Counter(term.label for _, term in terms if term.label is not None)
    for position, term in terms:
        if term.label is not None and counts[term.label] > 1:
            yield ("objective", position, "label"), f"'{term.label}' is the label of another term, too"


def _sizes(train: Train, processes: int) -> Found:
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


def _processes(backend: Backend, processes: int) -> Found:
    if processes > 1 and not backend.multi_process:
        name = current_registry().name_of(type(backend))
        yield ("backend",), f"'{name}' runs in one process, not in {processes}"


def _probes(terms: list[tuple[int, Term]], backend: Backend) -> Found:
    for position, term in terms:
        if term.probes() and not backend.trains_probes:
            name = current_registry().name_of(type(backend))
            yield (
                ("objective", position),
                f"trains a module of its own beside the model, which the backend '{name}' does not; use 'local'",
            )


def _reference(model: ModelAdapter, reference: str) -> Found:
    if reference == "adapter_off" and not model.has_lora:
        yield (
            ("reference",),
            "'adapter_off' needs model.lora: there is no adapter to switch off; use 'frozen_copy'",
        )


def _frozen_copy(terms: list[tuple[int, Term]], model: ModelAdapter, reference: str) -> Found:
    if reference != "frozen_copy" and (reference != "auto" or model.has_lora):
        return
    for position, term in terms:
        if any(statistic.needs_reference for statistic in term.statistics().values()):
            yield (
                ("objective", position),
                "compares whole distributions with those of a frozen copy, which this backend cuts up; use LoRA with "
                "'reference: adapter_off', or a lower ZeRO stage",
            )


def _cached(terms: list[tuple[int, Term]], evaluators: Sequence[Evaluator | None]) -> Found:
    for position, term in terms:
        if any(probe.reads == "reference" for probe in term.probes().values()):
            yield (
                ("objective", position),
                "reads every layer of the reference, which 'reference: cached' does not keep; use 'adapter_off' or "
                "'frozen_copy'",
            )
        if any(statistic.needs_reference for statistic in term.statistics().values()):
            yield (
                ("objective", position),
                "compares whole distributions with the reference's, which 'reference: cached' does not keep; use "
                "'adapter_off' or 'frozen_copy'",
            )
    for position, evaluator in enumerate(evaluators):
        if evaluator is not None and evaluator.needs_reference:
            yield (
                ("evaluators", position),
                "scores examples of its own, and 'reference: cached' holds those that are trained on; use "
                "'adapter_off' or 'frozen_copy', or leave this evaluator out",
            )
