"""What ``output.keep_best`` and ``train.stop_early`` need of the evaluators."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import NoneType

from mdpo_core.errors import suggestion
from mdpo_core.interfaces.evaluator import Evaluator
from mdpo_core.interfaces.plugin_results import told_by_plugin
from mdpo_core.interfaces.term import Term
from mdpo_core.interfaces.train_options import Goal
from mdpo_core.recipe.sections import Found, Sections

# What is worse when there is more or less of it, by mode.
_WORSE = {"max": "loss", "min": "accuracy"}
# Metrics that had another name in earlier versions.
_RENAMED = {"picture/accuracy": "logps/accuracy/picture", "picture/margin": "logps/margin/picture"}


def goals(sections: Sections) -> Found:
    """Metrics that no evaluator makes, or makes only at the start and the end."""
    early = sections.train.stop_early
    best = sections.output.keep_best if "output" in sections.names else None
    for section, name, goal in (("train", "stop_early", early), ("output", "keep_best", best)):
        if goal is not None:
            problem = _problem(goal, sections)
            if problem:
                yield (section, name), problem


def _problem(goal: Goal, sections: Sections) -> str:
    evaluators = [evaluator for _, evaluator in sections.evaluators]
    if any(each.component_name() == goal.evaluator and each.every is None for each in evaluators):
        return f"'{goal.evaluator}' measures at the start and the end only; set every: 50 there, for example"
    terms = dict(zip(sections.labels, (term for _, term in sections.terms), strict=True))
    problem = unmeasured(goal, evaluators, terms)
    if not problem and worst_by(goal):
        best = f"leave mode out: '{goal.metric}' says which is better"
        return f"mode: {goal.mode} takes {worst_by(goal)} for the best one; {best}"
    return problem


def unmeasured(goal: Goal, evaluators: Sequence[Evaluator], terms: Mapping[str, Term]) -> str:
    """Why no run with these evaluators and terms, by label, has the metric of a goal; empty if one may have it."""
    names = dict.fromkeys(each.component_name() for each in evaluators)
    named = [each for each in evaluators if each.component_name() == goal.evaluator]
    if not named:
        near = suggestion(goal.evaluator, names)
        add = f"add evaluators: [{{evaluator: {goal.evaluator}, every: 50}}]"
        return f"no evaluator '{goal.evaluator}' measures '{goal.metric}'{near}; {add}  (there: {_listed(names)})"
    told = [_measured(each, terms) for each in named]
    measured = [name for each in told for name in each or ()]
    if None in told or goal.name in measured:
        return ""
    now = _RENAMED.get(goal.name, "")
    near = f"; it is called '{now}' now" if now in measured else suggestion(goal.name, measured)
    return f"'{goal.evaluator}' does not measure '{goal.name}'{near}  (it measures: {_listed(measured)})"


def worst_by(goal: Goal) -> str:
    """What a goal takes for the best, though its name says that it is the worst; empty for all others."""
    if goal.mode is None or _WORSE[goal.mode] not in goal.name.split("/"):
        return ""
    return f"the {'largest' if goal.mode == 'max' else 'smallest'} {_WORSE[goal.mode]}"


def _measured(evaluator: Evaluator, terms: Mapping[str, Term]) -> Collection[str] | None:
    source = f"measures() of the evaluator '{evaluator.component_name()}'"
    told = told_by_plugin(source, lambda: evaluator.measures(terms), (Collection, NoneType), "names, or None")
    return None if told is None else tuple(told)


def _listed(names: Collection[str]) -> str:
    return ", ".join(names) or "none"
