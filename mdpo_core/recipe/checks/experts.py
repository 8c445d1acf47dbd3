"""Where the load of experts cannot be balanced."""

from __future__ import annotations

from mdpo_core.errors import DataError
from mdpo_core.interfaces.adapter import ModelAdapter
from mdpo_core.recipe.sections import Found, Sections


def routers(sections: Sections) -> Found:
    """The model must have routers."""
    if sections.train.router_aux_loss_coef is not None and not _has_routers(sections.model):
        yield (
            ("train", "router_aux_loss_coef"),
            "the model has no routers to balance, or mdpo does not know them; use null",
        )


def _has_routers(model: ModelAdapter) -> bool:
    try:
        return model.has_routers
    except DataError:  # its files are not here; their own check says so
        return True


def compiled_routers(sections: Sections) -> Found:
    """Compiled layers do not call what reads the routers."""
    if sections.train.router_aux_loss_coef is not None and sections.scoring.compile:
        yield ("scoring", "compile"), "compiled layers hide what routers say; leave train.router_aux_loss_coef out"
