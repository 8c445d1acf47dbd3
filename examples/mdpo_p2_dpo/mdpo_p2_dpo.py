import torch
from pydantic import Field

from mdpo_core import DataError, Loss, Problem, Scores, View, hookimpl

TINY = 1e-8


class P2DPO(Loss):
    """Pairs about what a model looks at, and pairs about noisy pictures (P2-DPO, arXiv:2606.03376).

        (1/2 + a) (F + lam C) + (1/2 - a) R        a = alpha_max tanh((crop_score / image_score - 1) / tau)
        F = -ls(beta (r(y_w) - r(y_l)))            R = -ls(beta (r(robust y_w) - r(robust y_l)))
        C = -ls(beta (log p(y_w|e) - log p(y_w|d) - (log ref(y_l|e) - log ref(y_l|d))))
        e, d: the picture whose looked-at place is enhanced, and degraded

    The formula is that of the authors' code. Their code that reads the data is not published: that F and R are scored
    under the picture as it is, and what the columns hold, is reconstructed.
    """

    beta: float = Field(default=0.1, gt=0, description="reward per nat of log-ratio")
    lam: float = Field(default=0.3, ge=0, description="factor of the calibration")
    alpha_max: float = Field(default=0.2, ge=0, lt=0.5, description="the largest shift between the two pairs; 0: none")
    tau: float = Field(default=0.1, gt=0, description="the lead of the crop's score that shifts most of it")
    enhanced: str = Field(default="enhanced", description="the condition whose picture is enhanced")
    degraded: str = Field(default="degraded", description="the condition whose picture is degraded")
    robust: str = Field(default="robust_chosen", description="the answer to the picture as it is")
    noisy: str = Field(default="robust_rejected", description="the answer to the noisy picture")
    crop_score: str = Field(default="crop_score", description="column: how well CLIP fits the crop to the answer")
    image_score: str = Field(default="image_score", description="column: how well CLIP fits the whole picture to it")

    def views(self):
        pairs = [View("chosen"), View("rejected"), View(self.robust), View(self.noisy)]
        changed = [View(name, place) for name in ("chosen", "rejected") for place in (self.enhanced, self.degraded)]
        return (*pairs, *changed)

    def columns(self):
        return (self.crop_score, self.image_score) if self.alpha_max else ()

    def check_columns(self, scores: Scores):
        for name in self.columns():
            for row, value in zip(scores.ids, scores.columns[name].tolist(), strict=True):
                if not 0 < value < float("inf"):
                    raise DataError([Problem(f"example '{row}'", name, f"must be a positive number, found {value:g}")])

    def __call__(self, scores: Scores):
        chosen, rejected, robust, noisy, *changed = self.views()
        w_enhanced, w_degraded, l_enhanced, l_degraded = changed
        focus = self._cost(scores.margin(chosen, rejected))
        policy = scores.policy[w_enhanced] - scores.policy[w_degraded]
        reference = scores.reference[l_enhanced] - scores.reference[l_degraded]
        shift = self._shift(scores)
        of_focus = (0.5 + shift) * (focus + self.lam * self._cost(policy - reference))
        return of_focus + (0.5 - shift) * self._cost(scores.margin(robust, noisy))

    def _cost(self, margin):
        return -torch.nn.functional.logsigmoid(self.beta * margin)

    def _shift(self, scores: Scores):
        if not self.alpha_max:
            return 0.0
        ratio = scores.columns[self.crop_score] / scores.columns[self.image_score].clamp_min(TINY)
        return self.alpha_max * torch.tanh((ratio - 1) / self.tau)

    @classmethod
    def contract(cls, folder):
        from hypothesis import strategies as st

        from mdpo_core.testing import check_loss

        columns = {"crop_score": st.just(0.3), "image_score": st.just(0.25)}
        check_loss(cls(), columns=columns, differences_only=False)


@hookimpl
def mdpo_components():
    return {"p2_dpo": P2DPO}
