"""Train vision-language models on preference pairs, so that they look at the picture.

The names that scripts and notebooks need; `mdpo_core` has all of them, and those for plugins. Importing this module
loads nothing: each name is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mdpo_core import (
        Anchor,
        Comparison,
        Corruption,
        DataError,
        Evaluator,
        Example,
        ImageCorruption,
        Loss,
        MdpoError,
        PairLoss,
        Pairs,
        PluginError,
        Range,
        Reader,
        Recipe,
        RecipeError,
        RecipeLike,
        RunResult,
        Strength,
        SweepResult,
        Turn,
        __version__,
        compare,
        component,
        generate_rejected,
        load_recipe,
        load_trained,
        register,
        relabel,
        run,
        search,
        sweep,
    )

__all__ = [
    "Anchor",
    "Comparison",
    "Corruption",
    "DataError",
    "Evaluator",
    "Example",
    "ImageCorruption",
    "Loss",
    "MdpoError",
    "PairLoss",
    "Pairs",
    "PluginError",
    "Range",
    "Reader",
    "Recipe",
    "RecipeError",
    "RecipeLike",
    "RunResult",
    "Strength",
    "SweepResult",
    "Turn",
    "__version__",
    "compare",
    "component",
    "generate_rejected",
    "load_recipe",
    "load_trained",
    "register",
    "relabel",
    "run",
    "search",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'mdpo' has no attribute '{name}'; mdpo_core has the names for plugins")
    import mdpo_core

    return getattr(mdpo_core, name)


def __dir__() -> list[str]:
    return sorted(__all__)
