"""Each loss of two views against its formula in plain Python, pair by pair, over any two views."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.effort import num_examples

from mdpo_core import Loss, ScorerOutput, Scores, Term, TokenLogProbs, View, component
from mdpo_core.testing import check_anchor, check_loss, scores

PROPERTY = settings(deadline=None, max_examples=num_examples(15, 40))
BETAS = st.floats(0.01, 2)
SHARES = st.floats(0.01, 0.4)
FEW = st.floats(0, 5)
LOG_2 = math.log(2)


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x)) if x > 0 else x - math.log1p(math.exp(x))


def sigmoid(x: float) -> float:
    return math.exp(log_sigmoid(x))


@dataclass
class Answer:
    """A response of one pair: log-probs token by token."""

    policy: list[float]
    reference: list[float]

    @property
    def lp(self) -> float:
        return sum(self.policy)

    @property
    def r(self) -> float:
        return sum(self.policy) - sum(self.reference)

    @property
    def n(self) -> int:
        return len(self.policy)


# ``w`` is the preferred answer, ``v`` the other, ``o`` the options and ``c`` the columns.
Column = dict[str, float]
Oracle = Callable[[Answer, Answer, dict[str, Any], Column], float]


def dpo(w: Answer, v: Answer, o: dict[str, Any], c: Column) -> float:
    x, e = o["beta"] * (w.r - v.r), o["label_smoothing"]
    return -(1 - e) * log_sigmoid(x) - e * log_sigmoid(-x)


def robust(w: Answer, v: Answer, o: dict[str, Any], c: Column) -> float:
    x, e = o["beta"] * (w.r - v.r), o["label_smoothing"]
    return (-(1 - e) * log_sigmoid(x) + e * log_sigmoid(-x)) / (1 - 2 * e)


def ipo(w: Answer, v: Answer, o: dict[str, Any], c: Column) -> float:
    margin = w.r / w.n - v.r / v.n if o["length_normalize"] else w.r - v.r
    return (margin - 0.5 / o["tau"]) ** 2


def exo(w: Answer, v: Answer, o: dict[str, Any], c: Column) -> float:
    x, e = o["beta"] * (w.r - v.r), o["label_smoothing"]
    return sum(sigmoid(y) * (log_sigmoid(y) - math.log(p)) for y, p in ((x, 1 - e), (-x, e)))


def discopop(w: Answer, v: Answer, o: dict[str, Any], c: Column) -> float:
    x = o["beta"] * (w.r - v.r)
    share = sigmoid(x / o["tau"])
    return -(1 - share) * log_sigmoid(x) + (share * math.exp(-x) if share else 0)


def f_dpo(w: Answer, v: Answer, o: dict[str, Any], c: Column) -> float:
    a = o.get("alpha", math.nan)
    slope: Callable[[float], float] = {
        "reverse_kl": lambda r: r,
        "forward_kl": lambda r: -math.exp(-r),
        "js": log_sigmoid,
        "alpha": lambda r: math.exp((a - 1) * r) / (a - 1),
    }[o["divergence"]]
    return -log_sigmoid(o["beta"] * (slope(w.r) - slope(v.r)))


def nca(w: Answer, v: Answer, o: dict[str, Any], c: Column) -> float:
    b = o["beta"]
    return -log_sigmoid(b * w.r) - 0.5 * log_sigmoid(-b * w.r) - 0.5 * log_sigmoid(-b * v.r)


def apo(w: Answer, v: Answer, o: dict[str, Any], c: Column) -> float:
    b = o["beta"]
    if o["variant"] == "zero":
        return 1 - sigmoid(b * w.r) + sigmoid(b * v.r)
    return sigmoid(b * w.r) + 1 - sigmoid(b * (w.r - v.r))


def dpop(w: Answer, v: Answer, o: dict[str, Any], c: Column) -> float:
    return -log_sigmoid(o["beta"] * (w.r - v.r - o["lam"] * max(0.0, -w.r)))


def odpo(w: Answer, v: Answer, o: dict[str, Any], c: Column) -> float:
    difference = c["chosen_score"] - c["rejected_score"]
    offset = math.log(difference) if o["offset"] == "log" else difference
    return -log_sigmoid(o["beta"] * (w.r - v.r) - o["alpha"] * offset)


def soft_dpo(w: Answer, v: Answer, o: dict[str, Any], c: Column) -> float:
    x, p = o["beta"] * (w.r - v.r), c["preference_probability"]
    return -p * log_sigmoid(x) - (1 - p) * log_sigmoid(-x)


def spa(w: Answer, v: Answer, o: dict[str, Any], c: Column) -> float:
    x, z = o["beta"] * (w.r - v.r), o["alpha"] * c["low_confidence"]
    return -(1 - z) * log_sigmoid(x) - z * log_sigmoid(-x)


def sppo(w: Answer, v: Answer, o: dict[str, Any], c: Column) -> float:
    if o["hard"]:
        return (w.r - 0.5 / o["beta"]) ** 2 + (v.r + 0.5 / o["beta"]) ** 2
    aims = [(c[name] - 0.5) / o["beta"] for name in ("chosen_probability", "rejected_probability")]
    return 0.5 * ((w.r - aims[0]) ** 2 + (v.r - aims[1]) ** 2)


def gpo(w: Answer, v: Answer, o: dict[str, Any], c: Column) -> float:
    return 0.5 * ((w.r - c["chosen_score"] / o["beta"]) ** 2 + (v.r - c["rejected_score"] / o["beta"]) ** 2)


def orpo(w: Answer, v: Answer, o: dict[str, Any], c: Column) -> float:
    odds = [answer.lp / answer.n - math.log1p(-math.exp(answer.lp / answer.n)) for answer in (w, v)]
    return -w.lp / w.n - o["lam"] * log_sigmoid(odds[0] - odds[1])


def alphapo(w: Answer, v: Answer, o: dict[str, Any], c: Column) -> float:
    a = o["alpha"]
    rewards = [(1 - math.exp(-a * answer.lp / answer.n)) / a for answer in (w, v)]
    return -log_sigmoid(o["beta"] * (rewards[0] - rewards[1]) - o["gamma"])


def ld_dpo(w: Answer, v: Answer, o: dict[str, Any], c: Column) -> float:
    def counted(tokens: list[float]) -> float:
        shared = min(w.n, v.n)
        return sum(tokens[:shared]) + o["ld_alpha"] * sum(tokens[shared:])

    rewards = [counted(answer.policy) - counted(answer.reference) for answer in (w, v)]
    return -log_sigmoid(o["beta"] * (rewards[0] - rewards[1]))


def wpo(w: Answer, v: Answer, o: dict[str, Any], c: Column) -> float:
    weight = c["chosen_weight"] * c["rejected_weight"]
    return -(min(1.0, weight) if o["clamp"] else weight) * log_sigmoid(o["beta"] * (w.r - v.r))


def bco(w: Answer, v: Answer, o: dict[str, Any], c: Column) -> float:
    return -log_sigmoid(o["beta"] * w.r - o["shift"]) - log_sigmoid(-(o["beta"] * v.r - o["shift"]))


def slic(w: Answer, v: Answer, o: dict[str, Any], c: Column) -> float:
    return max(0.0, o["delta"] - w.lp + v.lp) - o["lam"] * w.lp


DIVERGENCES = st.one_of(
    st.fixed_dictionaries({"beta": BETAS, "divergence": st.sampled_from(["reverse_kl", "forward_kl", "js"])}),
    st.fixed_dictionaries({"beta": BETAS, "divergence": st.just("alpha"), "alpha": st.floats(0.1, 0.9)}),
)
SCORES = {"chosen_score": st.floats(1, 5), "rejected_score": st.floats(-5, 0.5)}
Options = dict[str, st.SearchStrategy[Any]] | st.SearchStrategy[dict[str, Any]]
FORMULAS: dict[str, tuple[Oracle, Options, dict[str, st.SearchStrategy[float]]]] = {
    "dpo": (dpo, {"beta": BETAS, "label_smoothing": SHARES}, {}),
    "robust_dpo": (robust, {"beta": BETAS, "label_smoothing": SHARES}, {}),
    "ipo": (ipo, {"tau": BETAS, "length_normalize": st.booleans()}, {}),
    "hinge": (lambda w, v, o, c: max(0.0, 1 - o["beta"] * (w.r - v.r)), {"beta": BETAS}, {}),
    "exo": (exo, {"beta": BETAS, "label_smoothing": SHARES}, {}),
    "discopop": (discopop, {"beta": st.floats(0.01, 0.5), "tau": st.floats(0.05, 1)}, {}),
    "f_dpo": (f_dpo, DIVERGENCES, {}),
    "nca": (nca, {"beta": BETAS}, {}),
    "apo": (apo, {"beta": BETAS, "variant": st.sampled_from(["zero", "down"])}, {}),
    "dpop": (dpop, {"beta": BETAS, "lam": FEW}, {}),
    "dpo_norm": (lambda w, v, o, c: -log_sigmoid(o["beta"] * (w.r / w.n - v.r / v.n)), {"beta": BETAS}, {}),
    "length_dpo": (
        lambda w, v, o, c: -log_sigmoid(o["beta"] * (w.r - v.r) - o["alpha"] * (w.n - v.n)),
        {"beta": BETAS, "alpha": FEW},
        {},
    ),
    "odpo": (odpo, {"beta": BETAS, "alpha": FEW, "offset": st.sampled_from(["log", "linear"])}, SCORES),
    "soft_dpo": (soft_dpo, {"beta": BETAS}, {"preference_probability": st.floats(0, 1)}),
    "spa": (spa, {"beta": BETAS, "alpha": SHARES}, {"low_confidence": st.sampled_from([0.0, 1.0])}),
    "sppo": (
        sppo,
        {"beta": BETAS, "hard": st.booleans()},
        {"chosen_probability": st.floats(0, 1), "rejected_probability": st.floats(0, 1)},
    ),
    "gpo": (gpo, {"beta": BETAS}, SCORES),
    "slic": (slic, {"delta": FEW, "lam": SHARES}, {}),
    "simpo": (
        lambda w, v, o, c: -log_sigmoid(o["beta"] * (w.lp / w.n - v.lp / v.n) - o["gamma"]),
        {"beta": BETAS, "gamma": FEW},
        {},
    ),
    "cpo": (
        lambda w, v, o, c: -log_sigmoid(o["beta"] * (w.lp - v.lp)) - o["alpha"] * w.lp / w.n,
        {"beta": BETAS, "alpha": FEW},
        {},
    ),
    "orpo": (orpo, {"lam": FEW}, {}),
    "alphapo": (alphapo, {"beta": BETAS, "gamma": FEW, "alpha": st.sampled_from([-0.5, 0.1, 0.25, 1.0])}, {}),
    "ld_dpo": (ld_dpo, {"beta": BETAS, "ld_alpha": st.floats(0, 1)}, {}),
    "wpo": (
        wpo,
        {"beta": BETAS, "clamp": st.booleans(), "weights": st.just("columns")},
        {"chosen_weight": st.floats(0, 2), "rejected_weight": st.floats(0, 2)},
    ),
    "bco": (bco, {"beta": BETAS, "shift": st.floats(-2, 2)}, {}),
}
ANY_TWO = st.permutations(["chosen", "rejected", "chosen@crop", "rejected@blank"]).map(lambda views: views[:2])


def nearer(found: Scores) -> Scores:
    """Tokens of 0 to -8 nats: exponentials of hundreds of nats are another test."""
    policy, reference = (
        {view: TokenLogProbs(tokens.values * 0.08, tokens.mask) for view, tokens in side.items()}
        for side in (found.policy_tokens, found.reference_tokens)
    )
    return Scores.from_tokens(ScorerOutput(policy, reference), found.corruptible, found.columns)


def answer(found: Scores, view: str, row: int) -> Answer:
    policy, reference = (side[view] for side in (found.policy_tokens, found.reference_tokens))
    return Answer(*(tokens.values[row, tokens.mask[row]].tolist() for tokens in (policy, reference)))


@pytest.mark.parametrize("name", FORMULAS)
def test_pair_costs_follow_the_formula_over_any_two_views(name: str) -> None:
    oracle, options, columns = FORMULAS[name]

    @PROPERTY
    @given(st.data(), ANY_TWO, st.fixed_dictionaries(options) if isinstance(options, dict) else options)
    def equal(data: st.DataObject, views: list[str], chosen: dict[str, Any]) -> None:
        found = data.draw(scores(views, columns).map(nearer))
        loss = component("loss", name, prefer=views[0], over=views[1], **chosen)
        assert isinstance(loss, Loss)
        seen = found.seen_by(loss, {}, {})
        for row, value in enumerate(loss(seen).tolist()):
            own = {column: float(values[row]) for column, values in found.columns.items()}
            preferred, other = (answer(found, view, row) for view in views)
            assert value == pytest.approx(oracle(preferred, other, chosen, own), rel=1e-8, abs=1e-8)

    equal()


def loss(name: str, **options: Any) -> Any:
    return component("loss", name, **options)


OTHER_OPTIONS: list[tuple[Term, dict[str, Any]]] = [
    (loss("ipo", length_normalize=False), {"indifference": 25}),
    (loss("apo", variant="down"), {"indifference": 1, "differences_only": False}),
    (loss("f_dpo", divergence="forward_kl"), {"indifference": LOG_2, "differences_only": False}),
    (loss("f_dpo", divergence="js"), {"indifference": LOG_2, "differences_only": False}),
    (loss("f_dpo", divergence="alpha"), {"indifference": LOG_2, "differences_only": False}),
    (loss("discopop", tau=1.0, beta=0.3), {}),
    (loss("sppo", hard=True), {"differences_only": False}),
    (loss("alphapo", alpha=0), {"differences_only": False}),
    (loss("alphapo", alpha=-1), {"differences_only": False}),
    (loss("wpo", weights="columns"), {"columns": {"chosen_weight": FEW, "rejected_weight": FEW}}),
    (loss("wpo", clamp=False), {"differences_only": False}),
    (loss("tdpo", variant=1), {"indifference": LOG_2, "differences_only": False}),
    (loss("aot", paired=False), {"differences_only": True}),
    (loss("aot", label_smoothing=0.1), {}),
    (loss("bco", shift=0.3), {"differences_only": False}),
    (loss("symmpo", prefer="rejected", over="third"), {"indifference": 4 * LOG_2, "differences_only": False}),
    (loss("chip", prefer="rejected", over="chosen@blank"), {"indifference": LOG_2}),
    (loss("rationale", log_sigmoid=True, on="why"), {"differences_only": False}),
]


@pytest.mark.parametrize(("term", "promises"), OTHER_OPTIONS, ids=lambda value: repr(value)[:60])
def test_other_options_keep_the_contract_of_losses(term: Any, promises: dict[str, Any]) -> None:
    check_loss(term, **promises)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("kto", {"baseline": "last_step"}),
        ("kto", {"baseline": 0.5}),
        ("bco_unpaired", {"shift": "running"}),
        ("bco_unpaired", {"shift": 0.5}),
    ],
)
def test_labelled_responses_keep_the_contract_under_any_view(name: str, options: dict[str, Any]) -> None:
    labels = {"label": st.sampled_from([0.0, 1.0])}
    check_loss(loss(name, on="rejected@crop", **options), differences_only=False, columns=labels)


def test_anchors_keep_their_contract_with_other_options() -> None:
    check_anchor(anchor("sft", length_normalize=False, on="rejected"))
    check_anchor(anchor("squared", delta=-1.0, on="chosen@crop"), direction="both")


def anchor(name: str, **options: Any) -> Any:
    return component("anchor", name, **options)


@PROPERTY
@given(scores(["chosen"]), BETAS, st.floats(-2, 2))
def test_anchors_are_their_formulas(found: Scores, beta: float, delta: float) -> None:
    squared, sft, total = (
        anchor("squared", beta=beta, delta=delta),
        anchor("sft"),
        anchor("sft", length_normalize=False),
    )
    for row in range(len(found.corruptible)):
        own = answer(found, "chosen", row)
        assert float(squared(found)[row]) == pytest.approx((beta * own.r - delta) ** 2)
        assert float(sft(found)[row]) == pytest.approx(-own.lp / own.n)
        assert float(total(found)[row]) == pytest.approx(-own.lp)


@PROPERTY
@given(scores(["chosen"], {"label": st.sampled_from([0.0, 1.0])}), BETAS, st.floats(0, 2), FEW, FEW)
def test_labelled_responses_cost_what_the_formula_says(
    found: Scores, beta: float, level: float, good: float, bad: float
) -> None:
    kto = loss("kto", beta=beta, baseline=level, desirable=good, undesirable=bad)(found)
    bco = loss("bco_unpaired", beta=beta, shift=level)(found)
    for row, label in enumerate(found.columns["label"].tolist()):
        r = answer(found, "chosen", row).r
        sign = 1 if label else -1
        assert float(kto[row]) == pytest.approx((good if label else bad) * (1 - sigmoid(sign * beta * (r - level))))
        assert float(bco[row]) == pytest.approx(-log_sigmoid(sign * (beta * r - level)))


@pytest.mark.parametrize("name", ["f_dpo", "alphapo"])
def test_loss_keeps_its_direction_where_exponential_overflows(name: str) -> None:
    """Where an exponential would overflow, the loss's gradient still says which way to go."""
    options = {"divergence": "forward_kl"} if name == "f_dpo" else {"alpha": 1.0}
    policy = {view: torch.tensor([-500.0], requires_grad=True) for view in ("chosen", "rejected")}
    reference = {view: torch.zeros(1) for view in policy}
    found = Scores.from_sums(policy, reference, {view: torch.ones(1) for view in policy})
    torch.autograd.backward(loss(name, **options)(found).sum())
    assert float(policy["chosen"].grad) < 0 < float(policy["rejected"].grad)  # type: ignore[arg-type]
    assert float(policy["chosen"].grad.square()) < math.inf  # type: ignore[union-attr]


@pytest.mark.parametrize("alpha", [1e-2, 1e-5, 1e-7])
def test_a_small_power_keeps_its_digits_in_single_precision(alpha: float) -> None:
    policy = {"chosen": torch.tensor([-1.4]), "rejected": torch.tensor([-1.5])}
    value = loss("alphapo", alpha=alpha)(Scores.from_sums(policy, None, {view: torch.ones(1) for view in policy}))
    rewards = [-math.expm1(-alpha * float(policy[view].double())) / alpha for view in ("chosen", "rejected")]
    assert value.item() == pytest.approx(-log_sigmoid(2.5 * (rewards[0] - rewards[1]) - 0.25), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exponentials_are_exact_to_cube_root_of_largest_number(dtype: torch.dtype) -> None:
    from mdpo_objectives.formulas.numerics import bounded_exp, bounded_expm1

    border = math.log(torch.finfo(dtype).max) / 3
    inside = torch.tensor([-1e4, -2.0, 1e-4, 1.0, border - 0.01], dtype=dtype)
    torch.testing.assert_close(bounded_exp(inside), inside.exp())
    torch.testing.assert_close(bounded_expm1(inside), inside.expm1())
    beyond = torch.tensor([border + 1, border + 500], dtype=dtype)
    for bounded in (bounded_exp, bounded_expm1):
        torch.testing.assert_close(
            bounded(beyond), math.exp(border) * torch.tensor([2, 501], dtype=dtype), rtol=1e-4, atol=0
        )


def test_odds_of_a_certain_response_are_finite() -> None:
    policy = {view: torch.zeros(1, requires_grad=True) for view in ("chosen", "rejected")}
    value = loss("orpo")(Scores.from_sums(policy, None, {view: torch.ones(1) for view in policy}))
    torch.autograd.backward(value.sum())
    assert value.isfinite().all()
    assert all(sums.grad is not None and sums.grad.isfinite().all() for sums in policy.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_odds_of_likely_and_unlikely_responses_keep_digits(dtype: torch.dtype) -> None:
    from mdpo_objectives.formulas.numerics import log1mexp

    likely = torch.tensor([-1e-6, -1e-3, -0.3], dtype=dtype)
    series = likely.double().abs() - likely.double() ** 2 / 2 + likely.double().abs() ** 3 / 6
    digits = 1e-6 if dtype == torch.float32 else 1e-9
    torch.testing.assert_close(log1mexp(likely)[:2].double(), series[:2].log(), rtol=digits, atol=0)
    unlikely = torch.tensor([-5.0, -20.0, -30.0], dtype=dtype)
    sum_of_powers = -sum((unlikely.double() * n).exp() / n for n in range(1, 9))
    torch.testing.assert_close(log1mexp(unlikely).double(), sum_of_powers, rtol=digits, atol=0)


@pytest.mark.parametrize("margin", [15.0, 60.0, 1e4])
def test_multi_view_margin_keeps_digits_in_single_precision(margin: float) -> None:
    policy = {view: torch.zeros(1, requires_grad=True) for view in ("chosen", "rejected", "chosen@crop")}
    ahead = Scores.from_sums(
        policy, {"chosen": torch.tensor([-margin])} | {v: torch.zeros(1) for v in list(policy)[1:]}
    )
    value = loss("softmax_dpo", beta=1, over=["rejected", "chosen@crop"])(ahead)
    value.sum().backward()
    assert value.item() == pytest.approx(math.log1p(2 * math.exp(-margin)), rel=1e-5)
    slope = 2 * math.exp(-margin) / (1 + 2 * math.exp(-margin))
    assert float(policy["chosen"].grad) == pytest.approx(-slope, rel=1e-5)  # type: ignore[arg-type]


def test_impossible_token_adds_nothing_to_a_divergence() -> None:
    """A token to which neither model gives a chance adds nothing to a divergence."""
    from mdpo_objectives.formulas.numerics import kl_divergence

    p, q = (
        torch.tensor([[*logits, -math.inf]], dtype=torch.float64, requires_grad=True) for logits in ((1, 2), (0, 3))
    )
    found = kl_divergence(p.log_softmax(-1), q.log_softmax(-1))
    torch.testing.assert_close(found, kl_divergence(p[:, :2].log_softmax(-1), q[:, :2].log_softmax(-1)))
    found.sum().backward()
    assert q.grad is not None
    assert q.grad.isfinite().all()


def test_any_view_may_stand_on_either_side_of_a_recipe_s_loss() -> None:
    assert loss("simpo", prefer="chosen@crop", over="rejected").views() == (View("chosen", "crop"), View("rejected"))
