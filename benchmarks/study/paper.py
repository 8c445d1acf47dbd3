"""The paper's own numbers (arXiv:2406.11839, Tables 1 to 4): Bunny-v1.0-3B, one run of each."""

from __future__ import annotations

from typing import NamedTuple


class Reported(NamedTuple):
    """``score`` and ``mmhal_rate``: of MMHal-Bench; ``chair_s`` and ``chair_i``: of Object HalBench, in percent."""

    score: float
    mmhal_rate: float
    chair_s: float
    chair_i: float


# By the name of the variant. Table 1: base, dpo, mdpo.
PAPER = {
    "base": Reported(2.11, 0.58, 43.0, 8.9),
    "dpo": Reported(2.28, 0.56, 44.3, 7.6),
    "mdpo": Reported(2.96, 0.42, 27.0, 4.6),
    # Table 2
    "no_conditional": Reported(2.36, 0.53, 40.3, 7.1),
    "no_anchor": Reported(2.50, 0.48, 34.3, 5.7),
    # Table 3; a crop that keeps 0-20 % is mdpo
    "crop_20_50": Reported(2.92, 0.42, 33.7, 5.4),
    "moco_v2": Reported(2.82, 0.44, 32.3, 5.9),
    "other_image": Reported(2.81, 0.46, 40.7, 6.6),
    # Table 4; an anchor on the chosen answer alone is mdpo
    "anchor_rejected": Reported(2.98, 0.39, 29.3, 5.0),
    "anchor_all": Reported(2.85, 0.40, 34.7, 6.1),
}
