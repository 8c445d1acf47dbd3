"""The contract of terms, and the strategies: what is right passes, what is wrong is caught and named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL.Image import Image
from torch import Tensor
from torch.nn.functional import logsigmoid

from mdpo_core import IMAGE_MARK, Anchor, Example, Loss, PairLoss, Scores, Statistic, View
from mdpo_core import testing as contracts
from mdpo_core.data.validity import problems_of_row
from mdpo_core.testing import check_anchor, check_loss, score_cases

PROPERTY = settings(deadline=None, max_examples=50)


class Hinge(PairLoss):
    beta: float = 1.0

    def __call__(self, scores: Scores) -> Tensor:
        return torch.relu(1 - self.beta * scores.margin(self.prefer, self.over))


class Swapped(Hinge):
    def __call__(self, scores: Scores) -> Tensor:
        return torch.relu(1 - self.beta * scores.margin(self.over, self.prefer))


class Overflowing(Hinge):
    """A log-sigmoid as it is first written down."""

    def __call__(self, scores: Scores) -> Tensor:
        return -torch.sigmoid(self.beta * scores.margin(self.prefer, self.over)).log()


class Fixed(Hinge):
    """Forgets that it has options."""

    def __call__(self, scores: Scores) -> Tensor:
        return torch.relu(1 - self.beta * scores.margin("chosen", "rejected"))


class Leaking(Hinge):
    def __call__(self, scores: Scores) -> Tensor:
        return super().__call__(scores) + 0 * scores.policy["chosen@crop"]


class Peeking(Hinge):
    def __call__(self, scores: Scores) -> Tensor:
        return super().__call__(scores) * scores.columns["weight"]


class Unreferenced(Hinge):
    """Says that it needs no reference, and reads it."""

    needs_reference: ClassVar[bool] = False


class Averaged(Hinge):
    def __call__(self, scores: Scores) -> Tensor:
        return super().__call__(scores).mean()


class Centred(Hinge):
    """Looks at the other pairs of its batch."""

    def __call__(self, scores: Scores) -> Tensor:
        margin = scores.margin(self.prefer, self.over)
        return torch.relu(1 - self.beta * (margin - margin.mean()))


class Beside(Hinge):
    """Looks at them, and says so."""

    compares_pairs: ClassVar[bool] = True

    def __call__(self, scores: Scores) -> Tensor:
        margin = scores.margin(self.prefer, self.over)
        return torch.relu(1 - self.beta * (2 * margin - margin.mean()))


class Next(Hinge):
    """Compares each pair with the one after it, and so with another in another order."""

    compares_pairs: ClassVar[bool] = True

    def __call__(self, scores: Scores) -> Tensor:
        margin = scores.margin(self.prefer, self.over)
        return torch.relu(1 - self.beta * margin - margin.cumsum(0))


class Usual(Hinge):
    """Reads a running mean."""

    def running_means(self) -> Mapping[str, Callable[[Scores], Tensor]]:
        return {"margin": lambda scores: scores.margin(self.prefer, self.over)}

    def __call__(self, scores: Scores) -> Tensor:
        return torch.relu(1 - self.beta * (scores.margin(self.prefer, self.over) - scores.running["margin"]))


class UsualTotal(Usual):
    def running_means(self) -> Mapping[str, Callable[[Scores], Tensor]]:
        return {"margin": lambda scores: scores.margin(self.prefer, self.over).sum()}


class UsualOther(Usual):
    def running_means(self) -> Mapping[str, Callable[[Scores], Tensor]]:
        return {"ratio": lambda scores: scores.log_ratio("chosen@crop")}


def surprise(policy: Tensor, reference: Tensor | None) -> Tensor:
    return -(policy.exp() * policy).sum(-1)


class Entropic(Hinge):
    """Reads whole distributions."""

    def statistics(self) -> Mapping[str, Statistic]:
        return {"entropy": Statistic(surprise)}

    def __call__(self, scores: Scores) -> Tensor:
        return super().__call__(scores) + scores.statistics["entropy"][self.prefer].sum(dim=1).detach()


class Undeclared(Entropic):
    def statistics(self) -> Mapping[str, Statistic]:
        return {}


class FixedViews(Hinge):
    """Declares the same views whatever its options say."""

    def views(self) -> tuple[View, ...]:
        return View("chosen"), View("rejected")


class Counting(Hinge):
    """Has a view more if its own have other names."""

    def views(self) -> tuple[View, ...]:
        more = () if self.over == View("rejected") else (View("worst"),)
        return self.prefer, self.over, *more


class Derived(Hinge):
    """Reads a third view, which is made of one that is named."""

    def views(self) -> tuple[View, ...]:
        return self.prefer, self.over, View(self.prefer.response, "crop")

    def __call__(self, scores: Scores) -> Tensor:
        return super().__call__(scores) + torch.relu(1 - scores.margin(*self.views()[::2]))


class Dipping(Hinge):
    """Prefers the wrong side where the margin is small."""

    def __call__(self, scores: Scores) -> Tensor:
        margin = scores.margin(self.prefer, self.over)
        return -margin + 2 * margin.clamp(-2, 2)


class Level(Anchor):
    def __call__(self, scores: Scores) -> Tensor:
        return scores.log_ratio(self.on).square()


class PerToken(Hinge):
    """Divides by the padded length, which is the batch's."""

    needs_tokens: ClassVar[bool] = True

    def __call__(self, scores: Scores) -> Tensor:
        tokens = scores.policy_tokens[self.prefer].values.mean(dim=1)
        return torch.relu(1 - tokens + scores.policy_tokens[self.over].values.mean(dim=1))


class Absolute(Hinge):
    def __call__(self, scores: Scores) -> Tensor:
        return super().__call__(scores) + scores.log_ratio(self.prefer) ** 2


class Detached(Hinge):
    def __call__(self, scores: Scores) -> Tensor:
        return super().__call__(scores).detach()


class Halved(Hinge):
    def __call__(self, scores: Scores) -> Tensor:
        return super().__call__(scores).float()


class InPlace(Hinge):
    def __call__(self, scores: Scores) -> Tensor:
        scores.reference[self.over].mul_(1.5)
        return torch.relu(1 - self.beta * (scores.policy[self.prefer] - scores.policy[self.over]))


class Random(Hinge):
    def __call__(self, scores: Scores) -> Tensor:
        return super().__call__(scores) + torch.rand(scores.corruptible.shape)


class Weighted(Loss):
    """A loss of three views and a column, as a third party may have one."""

    def views(self) -> tuple[View, ...]:
        return View("chosen"), View("rejected"), View("worst")

    def columns(self) -> tuple[str, ...]:
        return ("weight",)

    def __call__(self, scores: Scores) -> Tensor:
        both = scores.margin("chosen", "rejected") + scores.margin("rejected", "worst")
        return -scores.columns["weight"] * logsigmoid(both)


class Floor(Anchor):
    def __call__(self, scores: Scores) -> Tensor:
        return -logsigmoid(scores.log_ratio(self.on))


class Ceiling(Floor):
    def __call__(self, scores: Scores) -> Tensor:
        return -logsigmoid(-scores.log_ratio(self.on))


class Nothing(Floor):
    def __call__(self, scores: Scores) -> Tensor:
        return 0 * scores.log_ratio(self.on)


VALID = [Hinge(), Hinge(over=View("chosen", "crop")), Weighted(), Beside(), Usual()]


@pytest.mark.parametrize("loss", VALID)
def test_a_valid_loss_passes(loss: Loss) -> None:
    check_loss(loss, indifference=1.0 if isinstance(loss, Hinge) else None)


def test_loss_of_distributions_and_loss_of_derived_views_pass() -> None:
    """A loss of whole distributions passes, and so does one that reads a view made of a named one."""
    check_loss(Entropic(), differences_only=False)
    check_loss(Derived(), indifference=2.0)


def test_loss_wrong_only_at_small_margins_passes_with_a_lead() -> None:
    """A loss that is wrong about small margins is caught, and passes where it is tried on large ones."""
    with pytest.raises(AssertionError, match=r"^Dipping prefers 'rejected' over 'chosen': .* is 1 nats higher"):
        check_loss(Dipping())
    check_loss(Dipping(), lead=10)


@pytest.mark.parametrize(
    ("loss", "sentence"),
    [
        (Swapped(), "Swapped prefers 'rejected' over 'chosen'"),
        (Overflowing(), "Overflowing or its gradient is not finite at policy chosen"),
        (Fixed(), "Fixed reads something that it does not declare: view 'chosen' was not declared"),
        (Leaking(), "Leaking reads something that it does not declare: view 'chosen@crop' was not declared"),
        (Peeking(), "Peeking reads something that it does not declare: column 'weight' was not declared in columns"),
        (Unreferenced(), "Unreferenced reads something that it does not declare: view 'chosen' has no reference here"),
        (Averaged(), r"Averaged gives torch.float64 \(\) for torch.float64 \(1,\)"),
        (Centred(), "Centred depends on the other pairs of the batch"),
        (Next(), "Next depends on the order of pairs"),
        (
            UsualTotal(),
            r"UsualTotal gives -?[\d.]+ for its running mean 'margin'; it must be one finite number for each",
        ),
        (UsualOther(), "UsualOther reads something that it does not declare: mean 'margin' was not declared"),
        (Undeclared(), "Undeclared reads something that it does not declare: statistic 'entropy' was not declared"),
        (FixedViews(), "FixedViews declares the views chosen, rejected, but its options name others"),
        (Counting(), "Counting has 2 views, but 3 after its options name other views"),
        (PerToken(), "PerToken depends on the other pairs of the batch"),
        (Absolute(), "Absolute changes when all its log-ratios move"),
        (Detached(), "Detached does not depend on the policy"),
        (Halved(), r"Halved gives torch.float32 \(1,\) for torch.float64 \(1,\)"),
        (InPlace(), "InPlace changes the scores in place"),
        (Random(), "Random gives different values for the same scores"),
        (Floor(), "Floor is not a subclass of Loss"),
    ],
)
def test_a_broken_loss_is_caught(loss: Any, sentence: str) -> None:
    with pytest.raises(AssertionError, match=f"^{sentence}"):
        check_loss(loss)


def returning(value: Any) -> Loss:
    class Returning(Hinge):
        def __call__(self, scores: Scores) -> Tensor:
            return value  # type: ignore[no-any-return]

    return Returning()


def declaring(name: str, value: Any) -> Loss:
    """A loss in which one method returns another value."""
    return type("Declaring", (Hinge,), {name: lambda self: value})()  # type: ignore[no-any-return]


class Raising(Hinge):
    def __call__(self, scores: Scores) -> Tensor:
        raise ValueError("no such thing")


class RaisingFarOut(Hinge):
    def __call__(self, scores: Scores) -> Tensor:
        assert float(scores.policy[self.over].min()) > -20
        return super().__call__(scores)


class RaisingInMean(Usual):
    def running_means(self) -> Mapping[str, Callable[[Scores], Tensor]]:
        return {"margin": lambda scores: 1 / 0}  # type: ignore[dict-item, return-value]


class RaisingInStatistic(Entropic):
    def statistics(self) -> Mapping[str, Statistic]:
        return {"entropy": Statistic(lambda policy, reference: policy.reshape(7, -1, 1000))}


class RaisingInViews(Hinge):
    def views(self) -> tuple[View, ...]:
        raise NotImplementedError


class RaisingInBackward(Hinge):
    def __call__(self, scores: Scores) -> Tensor:
        values = super().__call__(scores)
        if values.requires_grad:
            values.register_hook(lambda gradient: gradient.no_such_method())
        return values


class Asking(Hinge):
    """Asks for a gradient through the reference."""

    def __call__(self, scores: Scores) -> Tensor:
        (gradient,) = torch.autograd.grad(scores.reference[self.prefer].sum(), [scores.reference[self.prefer]])
        return super().__call__(scores) + gradient


@pytest.mark.parametrize(
    ("loss", "sentence"),
    [
        (
            returning(None),
            r"Returning returns None at policy chosen \[-1.0\], .*; it must return a tensor with one number",
        ),
        (returning(0.5), r"Returning returns the float 0.5 at .*; it must return a tensor with .* shape \(1,\)"),
        (Raising(), r"Raising raised ValueError: no such thing \(.*test_losses.py:\d+\) at policy chosen \[-1.0\]"),
        (
            RaisingFarOut(),
            r"RaisingFarOut raised AssertionError.* \(.*test_losses.py:\d+\) at policy chosen \[-1.0\], "
            r"policy rejected \[-20.0\]",
        ),
        (RaisingInMean(), r"RaisingInMean raised ZeroDivisionError: .* for its running mean 'margin' at policy"),
        (RaisingInStatistic(), r"RaisingInStatistic raised RuntimeError: .*test_losses.py:\d+\) in its statistics"),
        (RaisingInViews(), r"RaisingInViews raised NotImplementedError \(.*\) when it declares what it reads"),
        (RaisingInBackward(), r"RaisingInBackward raised AttributeError: .* in the backward of its values at policy"),
        (
            Asking(),
            r"Asking raised RuntimeError: .*; the reference's log-probs have no gradient, and in an evaluation",
        ),
        (
            declaring("views", ("chosen", "rejected")),
            r"views\(\) of Declaring must return a tuple such as \(View\('chosen'\),\); it returned \('chosen', ",
        ),
        (declaring("views", None), r"views\(\) of Declaring must return a tuple such as .*; it returned None"),
        (
            declaring("columns", "score"),
            r"columns\(\) of Declaring must return a tuple such as \('score',\); it returned 'score'",
        ),
        (declaring("statistics", [surprise]), r"statistics\(\) of Declaring must return a mapping"),
        (
            declaring("statistics", {"entropy": surprise}),
            r"statistics\(\) of Declaring must return a mapping from names to Statistic; it returned \{",
        ),
        (declaring("running_means", None), r"running_means\(\) of Declaring must return .*; it returned None"),
    ],
)
def test_loss_error_or_wrong_result_becomes_a_sentence(loss: Loss, sentence: str) -> None:
    with pytest.raises(AssertionError, match=f"^{sentence}"):
        check_loss(loss)


def test_anchor_error_becomes_a_sentence_and_stays_the_cause() -> None:
    class Odd(Floor):
        def __call__(self, scores: Scores) -> Tensor:
            raise ValueError("several\nlines")

    with pytest.raises(AssertionError, match=r"^Odd raised ValueError: several lines \(") as caught:
        check_anchor(Odd())
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_loss_with_another_value_at_indifference_is_caught() -> None:
    with pytest.raises(AssertionError, match=r"^Hinge is \[1.0.*\] where policy and reference agree, not 0.69"):
        check_loss(Hinge(), indifference=0.69)


def test_a_failure_comes_with_the_smallest_case() -> None:
    with pytest.raises(AssertionError, match=r"by -?[\d.]+ nats, at policy chosen \[-1.0\], policy rejected \[-1.0\]"):
        check_loss(Absolute())


def test_valid_anchors_pass() -> None:
    check_anchor(Floor(on=View("chosen", "crop")), indifference=0.6931471805599453)
    check_anchor(Ceiling(), direction="below")
    check_anchor(Level(), direction="both", indifference=0.0)


@pytest.mark.parametrize(
    ("anchor", "direction", "sentence"),
    [
        (Ceiling(), "above", "Ceiling goes from .* when the log-ratio of 'chosen' falls by"),
        (Floor(), "below", "Floor goes from .* when the log-ratio of 'chosen' falls by"),
        (Nothing(), "above", "Nothing costs -?0.0 at -50 nats and 0.0 at 50: it does not hold its view"),
        (Floor(), "both", "Floor costs .* at -50 nats, .* at 0 and .* at 50: it does not hold its view"),
        (Hinge(), "above", "Hinge is not a subclass of Anchor"),
    ],
)
def test_a_broken_anchor_is_caught(anchor: Any, direction: Any, sentence: str) -> None:
    with pytest.raises(AssertionError, match=f"^{sentence}"):
        check_anchor(anchor, direction=direction)


@PROPERTY
@given(contracts.scores(["chosen", "chosen@crop"], columns={"weight": st.floats(2, 3)}))
def test_drawn_scores_are_log_probs_of_responses(found: Scores) -> None:
    for tokens in (*found.policy_tokens.values(), *found.reference_tokens.values()):
        assert (tokens.values[tokens.mask] < 0).all()
        assert (tokens.values[~tokens.mask] == 0).all()
    assert found.num_tokens["chosen"].equal(found.num_tokens["chosen@crop"])
    assert ((found.columns["weight"] >= 2) & (found.columns["weight"] <= 3)).all()


@PROPERTY
@given(contracts.scores(["chosen", "rejected"], indifferent=True))
def test_drawn_scores_agree_with_the_reference_on_request(found: Scores) -> None:
    assert not found.margin("chosen", "rejected").any()


@PROPERTY
@given(contracts.examples(columns={"score": st.floats(0, 1)}))
def test_drawn_examples_are_valid_rows(example: Example) -> None:
    assert problems_of_row(example) == []
    assert example.prompt.count(IMAGE_MARK) == len(example.images) <= 2
    assert {image.mode for image in example.images} <= {"RGB"}
    assert example.columns.keys() == {"score"}


@PROPERTY
@given(contracts.images(max_side=7))
def test_drawn_images_are_rgb_and_no_larger_than_asked_for(image: Image) -> None:
    assert image.mode == "RGB"
    assert 1 <= min(image.size) <= max(image.size) <= 7


def test_loss_of_many_views_is_tried_in_as_much_memory_as_one_of_six() -> None:
    """All combinations of ten likely and unlikely views would need 80 GB."""
    views = [View(f"answer_{number}") for number in range(10)]
    tried = score_cases.far_apart(views, 400.0, {})
    sums = torch.stack([*tried.policy.values(), *tried.reference.values()])
    assert sums.shape == (20, 4096)
    assert len(sums.unique(dim=1).T) == 4096
    assert (sums > -200).all(dim=0).any()
    assert (sums < -200).all(dim=0).any()
    six = score_cases.far_apart(views[:6], 400.0, {})
    assert len(torch.stack([*six.policy.values(), *six.reference.values()]).unique(dim=1).T) == 2**12
