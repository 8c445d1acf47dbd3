"""What ``output.keep_best`` and ``train.stop_early`` need of the evaluators."""

from __future__ import annotations

from collections.abc import Collection
from types import NoneType

from mdpo_core.errors import suggestion
from mdpo_core.interfaces.evaluator import Evaluator
from mdpo_core.interfaces.plugin_results import told_by_plugin
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
    named = {evaluator.component_name(): evaluator for _, evaluator in sections.evaluators}
    evaluator = named.get(goal.evaluator)
    if evaluator is None:
        near = suggestion(goal.evaluator, named)
        add = f"add evaluators: [{{evaluator: {goal.evaluator}, every: 50}}]"
        return f"no evaluator '{goal.evaluator}' measures '{goal.metric}'{near}; {add}  (there: {_listed(named)})"
    if evaluator.every is None:
        return f"'{goal.evaluator}' measures at the start and the end only; set every: 50 there, for example"
    measured = _measured(evaluator, sections)
    if measured is not None and goal.name not in measured:
        now = _RENAMED.get(goal.name, "")
        near = f"; it is called '{now}' now" if now in measured else suggestion(goal.name, measured)
        return f"'{goal.evaluator}' does not measure '{goal.name}'{near}  (it measures: {_listed(measured)})"
    if goal.mode is not None and _WORSE.get(goal.mode, "") in goal.name.split("/"):
        worst = f"the {'largest' if goal.mode == 'max' else 'smallest'} {_WORSE[goal.mode]}"
        return f"mode: {goal.mode} takes {worst} for the best one; leave mode out: '{goal.metric}' says which is better"
    return ""


def _measured(evaluator: Evaluator, sections: Sections) -> Collection[str] | None:
    terms = dict(zip(sections.labels, (term for _, term in sections.terms), strict=True))
    source = f"measures() of the evaluator '{evaluator.component_name()}'"
    told = told_by_plugin(source, lambda: evaluator.measures(terms), (Collection, NoneType), "names, or None")
    return None if told is None else tuple(told)


def _listed(names: Collection[str]) -> str:
    return ", ".join(names) or "none"
