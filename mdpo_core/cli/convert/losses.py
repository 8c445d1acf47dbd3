"""The losses of other trainers as terms of an objective."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mdpo_core.errors import suggestion

_LEAST_SMOOTHING = 0.001  # of EXO, whose loss has no value at 0
_DIVERGENCES = {"forward_kl": "forward_kl", "js_divergence": "js", "alpha_divergence": "alpha"}
TOKENS_MEAN = (
    "the likelihood of {anchor: sft} is a mean over the tokens of an answer, and then over pairs; there it is a mean "
    "over all tokens of a micro-batch"
)


@dataclass(frozen=True)
class LossOptions:
    """The options that losses share. ``smooths_dpo``: whether label smoothing counts for the loss ``sigmoid``.

    ``shifts_bco``: whether BCO's threshold is the mean reward, and not 0.
    """

    beta: float = 0.1
    label_smoothing: float = 0.0
    discopop_tau: float = 0.05
    divergence: str = "reverse_kl"
    divergence_alpha: float = 0.5
    ld_alpha: float | None = None
    weighted: bool = False
    smooths_dpo: bool = True
    shifts_bco: bool = True


def term_of(name: str, options: LossOptions) -> dict[str, Any] | str:
    """The term of the loss ``name``, or a sentence that says why there is none."""
    beta, smoothing = options.beta, options.label_smoothing
    terms: Mapping[str, dict[str, Any]] = {
        "sigmoid": _dpo(options),
        "hinge": {"loss": "hinge", "beta": beta},
        "ipo": {"loss": "ipo", "tau": beta, "length_normalize": True},
        "exo_pair": {"loss": "exo", "beta": beta, "label_smoothing": smoothing or _LEAST_SMOOTHING},
        "nca_pair": {"loss": "nca", "beta": beta},
        "robust": {"loss": "robust_dpo", "beta": beta, "label_smoothing": smoothing},
        "bco_pair": {"loss": "bco", "beta": beta, "shift": "running" if options.shifts_bco else 0.0},
        "sppo_hard": {"loss": "sppo", "beta": beta, "hard": True},
        "aot": {"loss": "aot", "beta": beta, "label_smoothing": smoothing, "paired": True},
        "aot_unpaired": {"loss": "aot", "beta": beta, "label_smoothing": smoothing, "paired": False},
        "apo_zero": {"loss": "apo", "beta": beta, "variant": "zero"},
        "apo_down": {"loss": "apo", "beta": beta, "variant": "down"},
        "discopop": {"loss": "discopop", "beta": beta, "tau": options.discopop_tau},
        "sft": {"anchor": "sft"},
        "sigmoid_norm": {"loss": "dpo_norm", "beta": beta},
    }
    if name not in terms:
        return f"the loss {name!r} is not known{suggestion(name, terms)}  ({', '.join(terms)})"
    changed = [word for word, on in _changes(options) if on]
    if name not in ("sigmoid", "sft") and changed:
        return f"the loss {name!r} with {' and '.join(changed)} has no counterpart"
    if name == "sigmoid" and len(changed) > 1:
        return f"the loss 'sigmoid' with {' and '.join(changed)} at once has no counterpart"
    return terms[name]


def _changes(options: LossOptions) -> list[tuple[str, bool]]:
    return [
        (f"f_divergence_type: {options.divergence}", options.divergence != "reverse_kl"),
        ("ld_alpha", options.ld_alpha is not None),
        ("use_weighting", options.weighted),
    ]


def _dpo(options: LossOptions) -> dict[str, Any]:
    """DPO, or the variant of it that an option asks for."""
    if options.divergence in _DIVERGENCES:
        alpha = {"alpha": options.divergence_alpha} if options.divergence == "alpha_divergence" else {}
        return {"loss": "f_dpo", "beta": options.beta, "divergence": _DIVERGENCES[options.divergence], **alpha}
    if options.ld_alpha is not None:
        return {"loss": "ld_dpo", "beta": options.beta, "ld_alpha": options.ld_alpha}
    if options.weighted:
        return {"loss": "wpo", "beta": options.beta, "clamp": False}
    smoothing = options.label_smoothing if options.smooths_dpo else 0.0
    return {"loss": "dpo", "beta": options.beta, "label_smoothing": smoothing}


def named(terms: list[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """The terms with labels for metrics: ``text`` for a single one, else the names that the trainer gives them."""
    if len(terms) == 1:
        return [{**terms[0][1], "label": "text"}]
    return [{**term, "label": name} for name, term in terms]


def weighted(term: dict[str, Any], weight: float) -> dict[str, Any]:
    """The term with its weight; a weight of 1 is left out."""
    return term if weight == 1 else {**term, "weight": weight}
