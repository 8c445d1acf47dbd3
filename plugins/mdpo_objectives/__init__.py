"""Preference losses and reward anchors, and evaluators of what they reach on held-out rows.

The formulas in the docstrings are for one pair. ``lp``: log-prob of a response under the policy, a sum over its
tokens; ``r``: its log-ratio, policy minus reference; ``w``, ``l``: the preferred view and the other view; ``D``:
r_w - r_l; ``|y|``: number of tokens; ``s``: the sigmoid; ``ls``: its logarithm; ``m``: an image; ``r(m,y)``: the
log-ratio of the response y to the image m; ``KL(reference || policy)``: divergence of the distributions of a token.

The rooms, from the ground up; each imports only rooms above it in this list:

    formulas, modules   functions that several terms use; modules that terms train
    losses, anchors     the terms, and their names in recipes
    strengths           what takes the place of an option, with a number for each pair
    evaluators          what is measured on held-out rows
"""

from __future__ import annotations

from collections.abc import Mapping

from mdpo_core import Component, hookimpl
from mdpo_objectives.anchors import ANCHORS
from mdpo_objectives.evaluators.preference import Preference
from mdpo_objectives.evaluators.probe import Probe
from mdpo_objectives.evaluators.samples import Samples
from mdpo_objectives.losses import LOSSES
from mdpo_objectives.strengths import STRENGTHS


@hookimpl
def mdpo_components() -> Mapping[str, type[Component]]:
    watching: dict[str, type[Component]] = {"preference": Preference, "probe": Probe, "samples": Samples}
    return {**LOSSES, **ANCHORS, **STRENGTHS, **watching}
