"""The names of the kinds of components, for what must not import their classes: the help of the command line."""

from __future__ import annotations

KIND_NAMES = (
    "adapter",
    "reader",
    "corruption",
    "loss",
    "anchor",
    "backend",
    "optimizer",
    "evaluator",
    "tracker",
    "benchmark",
    "strength",
)
# The section of a recipe that has options and a component, which is called as its kind is.
HOLDS_A_COMPONENT = "train"
