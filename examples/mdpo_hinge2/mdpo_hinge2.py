from mdpo_core import PairLoss, Scores, hookimpl


class Hinge(PairLoss):
    """Hinge on the margin, as in SLiC."""

    beta: float = 0.1

    def __call__(self, scores: Scores):
        return (1 - self.beta * scores.margin(self.prefer, self.over)).relu()


@hookimpl
def mdpo_components():
    return {"hinge2": Hinge}
