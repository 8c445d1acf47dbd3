"""The names of the kinds of components, for what must not import their classes: the help of the command line."""

from __future__ import annotations

KIND_NAMES = ("adapter", "reader", "corruption", "loss", "anchor", "backend", "evaluator", "tracker")
