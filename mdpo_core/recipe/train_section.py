"""The section `train`, whose optimizer is a component."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mdpo_core.interfaces.train_options import Train


def train_of(section: Mapping[str, Any], component: Callable[..., Any], validated: Callable[..., Any]) -> Train | None:
    """The section with its optimizer, which may be named by its name alone; None if either is not valid.

    ``component`` and ``validated`` build components and options, and report what is wrong with them.
    """
    named = section["optimizer"]
    form = {"optimizer": named} if isinstance(named, str) else named
    optimizer = component(("train", "optimizer"), ("optimizer",), form)
    options = validated(("train",), Train, "train", {key: each for key, each in section.items() if key != "optimizer"})
    if optimizer is None or options is None:
        return None
    train: Train = options.model_copy(update={"optimizer": optimizer})
    return train
