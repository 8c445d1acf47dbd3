"""The commands whose options are in a file of their own: action, help, and what adds the options."""

from __future__ import annotations

from mdpo_core.cli import data_view
from mdpo_core.cli.scoring import answer, compare, evaluate, score
from mdpo_core.cli.sharing import push
from mdpo_core.cli.sweeping import command as sweeping
from mdpo_core.cli.use import ask

OWN = {
    "ask": (ask.ask_model, ask.HELP, ask.add_arguments),
    "compare": (compare.compare_runs, compare.HELP, compare.add_arguments),
    "data": (data_view.describe_data, data_view.HELP, data_view.add_arguments),
    "eval": (evaluate.evaluate, evaluate.HELP, evaluate.add_arguments),
    "push": (push.push, push.HELP, push.add_arguments),
    "answer": (answer.answer, answer.HELP, answer.add_arguments),
    "sweep": (sweeping.sweep_recipe, sweeping.HELP, sweeping.add_arguments),
    "score": (score.score, score.HELP, score.add_arguments),
}
