"""Preference losses and reward anchors.

The formulas of the docstrings are about one pair. ``lp``: log-prob of a response under the policy, a sum over its
tokens; ``r``: its log-ratio, policy minus reference; ``w``, ``l``: the preferred view and the one it is preferred over;
``D``: r_w - r_l; ``|y|``: number of tokens; ``s``: the sigmoid; ``ls``: its logarithm; ``m``: an image; ``r(m,y)``: the
log-ratio of the response y to it; ``KL(reference || policy)``: that of the distributions that predict a token.
"""

from __future__ import annotations

from collections.abc import Mapping

from mdpo_core import Component, hookimpl
from mdpo_objectives.absolute import APO, DPOP, NCA
from mdpo_objectives.advantage import HPO
from mdpo_objectives.anchors import SFT, Reward, Squared
from mdpo_objectives.batch_level import AOT, BCO, KTO, BCOUnpaired
from mdpo_objectives.degrees import SPO
from mdpo_objectives.in_scope import C3PO
from mdpo_objectives.lengths import DPONorm, LengthDPO
from mdpo_objectives.masks import SparsePO
from mdpo_objectives.mismatched import Mismatched
from mdpo_objectives.pairwise import DPO, EXO, FDPO, IPO, DiscoPOP, Hinge, RobustDPO
from mdpo_objectives.reference_free import CPO, ORPO, AlphaPO, SimPO, SLiC
from mdpo_objectives.segments import DDPO, DMPO
from mdpo_objectives.several_views import SVCO, CHiP, Rationale, SoftmaxDPO, SymMPO
from mdpo_objectives.soft_labels import GPO, ODPO, SPA, SPPO, SoftDPO
from mdpo_objectives.tokens import LDDPO, TDPO, WPO
from mdpo_objectives.visual import VDPO, VisualTPO

LOSSES: Mapping[str, type[Component]] = {
    "dpo": DPO,
    "robust_dpo": RobustDPO,
    "ipo": IPO,
    "hinge": Hinge,
    "exo": EXO,
    "discopop": DiscoPOP,
    "f_dpo": FDPO,
    "nca": NCA,
    "apo": APO,
    "dpop": DPOP,
    "dpo_norm": DPONorm,
    "length_dpo": LengthDPO,
    "odpo": ODPO,
    "soft_dpo": SoftDPO,
    "spa": SPA,
    "sppo": SPPO,
    "gpo": GPO,
    "slic": SLiC,
    "simpo": SimPO,
    "cpo": CPO,
    "orpo": ORPO,
    "alphapo": AlphaPO,
    "ld_dpo": LDDPO,
    "ddpo": DDPO,
    "dmpo": DMPO,
    "tdpo": TDPO,
    "wpo": WPO,
    "aot": AOT,
    "bco": BCO,
    "bco_unpaired": BCOUnpaired,
    "kto": KTO,
    "softmax_dpo": SoftmaxDPO,
    "s_vco": SVCO,
    "symmpo": SymMPO,
    "chip": CHiP,
    "rationale": Rationale,
    "sparse_po": SparsePO,
    "spo": SPO,
    "v_dpo": VDPO,
    "visual_tpo": VisualTPO,
    "c3po": C3PO,
}
ANCHORS: Mapping[str, type[Component]] = {
    "reward": Reward,
    "sft": SFT,
    "hpo": HPO,
    "squared": Squared,
}


@hookimpl
def mdpo_components() -> Mapping[str, type[Component]]:
    return {**LOSSES, **ANCHORS, "mismatched": Mismatched}
