"""The check values of objectives.md: what each stands for in a recipe, and its inputs as scores."""

from __future__ import annotations

import json
from typing import Any

import torch

from mdpo_core import ScorerOutput, Scores
from mdpo_core.testing.strategies import token_log_probs
from mdpo_core.types.scores import ResponseTokens
from mdpo_core.types.view import View
from support.paths import DATA

VECTORS: dict[str, dict[str, Any]] = json.loads((DATA / "loss_vectors.json").read_text())["losses"]
Entry = dict[str, Any]
CROPPED = "chosen@crop"
ENDINGS = {
    "chosen_corrupt": CROPPED,
    "rejected_corrupt": "rejected@crop",
    "chosen_noimg": "chosen@none",
    "rejected_noimg": "rejected@none",
}
# jpo_dove: a prompt's log-prob is part of its response's sum.
WITH_PROMPT = {f"{part}{name}": f"prompt+{name}" for name in ("chosen", "rejected") for part in ("", "prompt_")}
# symmpo: the second answer to the first picture, and both answers to the second.
SYMMETRIC = {"rejected_noimg": "other", "chosen_corrupt": "chosen@twin", "rejected_corrupt": "other@twin"}
COLUMNS = {
    "score_chosen": "chosen_score",
    "score_rejected": "rejected_score",
    "gp_chosen": "chosen_score",
    "gp_rejected": "rejected_score",
    "prob_chosen": "chosen_probability",
    "prob_rejected": "rejected_probability",
    "weight_chosen": "chosen_weight",
    "weight_rejected": "rejected_weight",
    "pref_prob": "preference_probability",
    "low_conf": "low_confidence",
    "label": "label",
}


def views_of(name: str) -> dict[str, str]:
    """The view of each field's ending."""
    return {"symmpo": SYMMETRIC, "jpo_dove": WITH_PROMPT}.get(name, ENDINGS)


def entries(name: str, p: dict[str, Any]) -> list[Entry]:
    """The terms that a vector's name stands for, as a recipe lists them."""
    beta = p.get("beta", 0.1)
    dpo = {"loss": "dpo", "beta": beta}
    crop = {**dpo, "over": CROPPED}
    reward = {"anchor": "reward", "beta": beta, "delta": p.get("delta", 0.0)}
    below = [{**reward, "on": view, "direction": "below"} for view in ("rejected", CROPPED)]
    pair = {"beta": beta}
    made: dict[str, list[Entry]] = {
        "dpo": [dpo],
        "cdpo": [{**dpo, "label_smoothing": p.get("label_smoothing")}],
        "copo": [crop],
        "ancpo": [reward],
        "mdpo": [dpo, crop, reward],
        "mdpo_delta": [dpo, crop, reward],
        "mdpo_no_conditional": [dpo, reward],
        "mdpo_no_anchor": [dpo, crop],
        "mdpo_anchor_yw_yl": [dpo, crop, reward, below[0]],
        "mdpo_anchor_yw_yl_ml": [dpo, crop, reward, *below],
        "robust": [{"loss": "robust_dpo", **pair, "label_smoothing": p.get("label_smoothing")}],
        "hinge": [{"loss": "hinge", **pair}],
        "ipo": [{"loss": "ipo", "tau": beta}],
        "ipo_sum": [{"loss": "ipo", "tau": beta, "length_normalize": False}],
        "sigmoid_norm": [{"loss": "dpo_norm", **pair}],
        "length_reg_dpo": [{"loss": "length_dpo", **pair, "alpha": p.get("alpha")}],
        "odpo": [{"loss": "odpo", **pair, "alpha": p.get("alpha")}],
        "odpo_linear": [{"loss": "odpo", **pair, "alpha": p.get("alpha"), "offset": "linear"}],
        "soft_dpo": [{"loss": "soft_dpo", **pair}],
        "spa": [{"loss": "spa", **pair, "alpha": p.get("alpha")}],
        "nca_pair": [{"loss": "nca", **pair}],
        "exo_pair": [{"loss": "exo", **pair, "label_smoothing": p.get("label_smoothing")}],
        "bco_pair": [{"loss": "bco", **pair, "shift": 0}],
        "bco": [{"loss": "bco", **pair, "shift": p.get("reward_shift")}],
        "bco_unpaired": [{"loss": "bco_unpaired", **pair, "shift": p.get("reward_shift")}],
        "sppo": [{"loss": "sppo", **pair}],
        "sppo_hard": [{"loss": "sppo", **pair, "hard": True}],
        "gpo": [{"loss": "gpo", **pair}],
        "apo_zero": [{"loss": "apo", **pair}],
        "apo_down": [{"loss": "apo", **pair, "variant": "down"}],
        "discopop": [{"loss": "discopop", **pair, "tau": p.get("tau")}],
        "dpop": [{"loss": "dpop", **pair, "lam": p.get("lambda")}],
        "rpo_nll": [dpo, {"anchor": "sft", "weight": p.get("alpha")}],
        "fdpo_js": [{"loss": "f_dpo", **pair, "divergence": "js"}],
        "fdpo_forward_kl": [{"loss": "f_dpo", **pair, "divergence": "forward_kl"}],
        "fdpo_alpha": [{"loss": "f_dpo", **pair, "divergence": "alpha", "alpha": p.get("alpha")}],
        "wpo": [{"loss": "wpo", **pair, "weights": "columns"}],
        "simpo": [{"loss": "simpo", **pair, "gamma": p.get("gamma")}],
        "cpo": [{"loss": "cpo", **pair, "alpha": p.get("alpha")}],
        "orpo": [{"loss": "orpo", "lam": p.get("lambda")}],
        "alphapo": [{"loss": "alphapo", **pair, "gamma": p.get("gamma"), "alpha": p.get("alpha")}],
        "slic": [{"loss": "slic", "delta": p.get("delta"), "lam": p.get("lambda")}],
        "kto": [
            {
                "loss": "kto",
                **pair,
                "baseline": p.get("kl"),
                "desirable": p.get("w_desirable"),
                "undesirable": p.get("w_undesirable"),
            }
        ],
        "rationale_dpo": [dpo, {"loss": "rationale", "gamma": p.get("gamma")}],
        "rationale_dpo_logsig": [dpo, {"loss": "rationale", "gamma": p.get("gamma"), "log_sigmoid": True}],
        "mpo": [
            {**dpo, "weight": p.get("w_preference")},
            {"loss": "bco", **pair, "shift": p.get("reward_shift"), "weight": p.get("w_quality")},
            {"anchor": "sft", "weight": p.get("w_generation")},
        ],
        "s_vco": [
            {"loss": "s_vco", "beta1": p.get("beta1"), "beta2": p.get("beta2"), "corrupted": "crop", "blank": "none"}
        ],
        "symmpo": [
            {
                "loss": "symmpo",
                **pair,
                "lam": p.get("lambda"),
                "gamma": p.get("gamma"),
                "condition": "twin",
                "response": "other",
            }
        ],
        "chip_code": [{"loss": "chip", **pair, "corrupted": "crop"}],
        "chip_paper": [dpo, crop],
        "softmax_mdpo": [{"loss": "softmax_dpo", **pair, "over": ["rejected", CROPPED]}],
        "jpo_dove": [{**dpo, "scored": "prompt_and_response"}],
        "ddpo": [{"loss": "ddpo", **pair, "gamma": p.get("gamma")}],
        "ddpo_sum": [{"loss": "ddpo", **pair, "gamma": p.get("gamma"), "average": False}],
        "dmpo": [{"loss": "dmpo", **pair, "gamma": p.get("gamma")}],
        "dmpo_gamma1": [{"loss": "dmpo", **pair, "gamma": p.get("gamma")}],
        "ld_dpo": [{"loss": "ld_dpo", **pair, "ld_alpha": p.get("ld_alpha")}],
    }
    return made[name]


def as_scores(name: str, inputs: dict[str, Any], needs_gradient: bool = False) -> Scores:
    for ending in ("tok", "turn"):
        if f"pol_chosen_{ending}" in inputs:
            return _of_tokens(inputs, ending)
    sides: dict[str, dict[str, torch.Tensor]] = {"pol": {}, "ref": {}, "len": {}}
    columns = {}
    for field, values in inputs.items():
        side, _, ending = field.partition("_")
        tensor = torch.tensor(values, dtype=torch.float64)
        if side in sides:
            view = views_of(name).get(ending, ending)
            sides[side][view] = sides[side].get(view, 0) + tensor
        else:
            columns[COLUMNS[field]] = tensor
    for tensor in sides["pol"].values():
        tensor.requires_grad_(needs_gradient)
    return Scores.from_sums(sides["pol"], sides["ref"], sides["len"], columns)


def _of_tokens(inputs: dict[str, Any], ending: str) -> Scores:
    """Each number is a token's, or a whole turn's; an odd token id is that of a changed token."""
    names = ("chosen", "rejected")
    policy, reference = (
        {View(name): token_log_probs(inputs[f"{side}_{name}_{ending}"]) for name in names} for side in ("pol", "ref")
    )
    responses = {}
    for name in names:
        mask = policy[View(name)].mask
        changed = [torch.tensor(row).long() for row in inputs.get(f"{name}_changed", mask.long().tolist())]
        places = torch.arange(1, mask.shape[1] + 1).expand(mask.shape) * mask
        ids = torch.nn.utils.rnn.pad_sequence(changed, batch_first=True)
        responses[View(name)] = ResponseTokens(ids, places if ending == "turn" else mask.long())
    rows = len(inputs[f"pol_chosen_{ending}"])
    return Scores.from_tokens(ScorerOutput(policy, reference), torch.ones(rows, dtype=torch.bool), {}, responses)
