"""Names, options and defaults of losses and anchors: what recipes rely on."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from mdpo_core import component
from mdpo_core.registry.discovery import current_registry

PAIR = {"prefer": "chosen", "over": "rejected", "scored": "response"}
LOSSES: dict[str, dict[str, Any]] = {
    "dpo": {**PAIR, "beta": 0.1, "label_smoothing": 0, "reference_free": False},
    "robust_dpo": {**PAIR, "beta": 0.1, "label_smoothing": 0.1},
    "ipo": {**PAIR, "tau": 0.1, "length_normalize": True},
    "hinge": {**PAIR, "beta": 0.1},
    "slic": {**PAIR, "delta": 1, "lam": 0.1},
    "dpo_norm": {**PAIR, "beta": 5},
    "length_dpo": {**PAIR, "beta": 0.1, "alpha": 0.02},
    "odpo": {**PAIR, "beta": 0.1, "alpha": 1, "offset": "log"},
    "soft_dpo": {**PAIR, "beta": 0.1},
    "spa": {**PAIR, "beta": 0.1, "alpha": 0.1},
    "nca": {**PAIR, "beta": 0.1},
    "exo": {**PAIR, "beta": 0.1, "label_smoothing": 0.001},
    "bco": {**PAIR, "beta": 0.1, "shift": "running"},
    "bco_unpaired": {"on": "chosen", "beta": 0.1, "shift": "running"},
    "sppo": {**PAIR, "beta": 0.001, "hard": False},
    "gpo": {**PAIR, "beta": 0.001},
    "apo": {**PAIR, "beta": 0.1, "variant": "zero"},
    "discopop": {**PAIR, "beta": 0.05, "tau": 0.05},
    "dpop": {**PAIR, "beta": 0.3, "lam": 5},
    "f_dpo": {**PAIR, "beta": 0.1, "divergence": "reverse_kl", "alpha": 0.5},
    "aot": {**PAIR, "beta": 0.1, "label_smoothing": 0, "paired": True},
    "wpo": {**PAIR, "beta": 0.1, "clamp": True, "weights": "policy"},
    "simpo": {**PAIR, "beta": 2, "gamma": 1},
    "cpo": {**PAIR, "beta": 0.1, "alpha": 1},
    "orpo": {**PAIR, "lam": 0.1},
    "alphapo": {**PAIR, "beta": 2.5, "gamma": 0.25, "alpha": 0.25},
    "ld_dpo": {**PAIR, "beta": 0.1, "ld_alpha": 0.3},
    "tdpo": {**PAIR, "beta": 0.1, "alpha": 0.5, "variant": 2},
    "softmax_dpo": {"prefer": "chosen", "over": ["rejected"], "beta": 0.1},
    "listwise": {"order": ["chosen", "rejected"], "beta": 0.1, "form": "plackett_luce", "ranks": []},
    "s_vco": {"beta1": 0.1, "beta2": 0.1, "corrupted": "corrupted", "blank": "blank"},
    "symmpo": {**PAIR, "beta": 0.1, "lam": 0.5, "gamma": 1e-4, "condition": "second", "response": "second"},
    "chip": {**PAIR, "beta": 0.5, "corrupted": "corrupted"},
    "kto": {
        "on": "chosen",
        "mismatched": "chosen@mismatched",
        "beta": 0.1,
        "desirable": 1,
        "undesirable": 1,
        "baseline": "last_step",
    },
    "rationale": {"on": "rationale", "gamma": 1, "log_sigmoid": False},
    "ddpo": {**PAIR, "beta": 0.5, "gamma": 5, "average": True},
    "dmpo": {**PAIR, "beta": 0.1, "gamma": 0.7},
    "v_dpo": {**PAIR, "beta": 0.1, "guidance": 1.5, "language_bias": 0, "blank": "blank"},
    "visual_tpo": {**PAIR, "beta": 0.1, "base": 0.5, "noisy": "noisy"},
    "c3po": {**PAIR, "beta": 0.1, "general": 0.2, "near": 0.1, "k": 0, "temperature": 1},
    "sparse_po": {**PAIR, "beta": 0.1, "masks": "learned", "shared": False, "l1_u": 0.001, "l1_d": 0.001},
    "spo": {"degrees": ["chosen", "half"]},
}
ANCHORS: dict[str, dict[str, Any]] = {
    "reward": {"on": "chosen", "beta": 0.1, "delta": 0, "direction": "above"},
    "sft": {"on": "chosen", "length_normalize": True},
    "squared": {"on": "chosen", "beta": 0.1, "delta": 0},
    "hpo": {"on": "chosen", "alpha": 1, "advantage": "column", "tau": None},
}
NAMED = [("loss", name) for name in LOSSES] + [("anchor", name) for name in ANCHORS]
REQUIRED: dict[str, dict[str, Any]] = {
    "softmax_dpo": {"over": ["rejected"]},
    "listwise": {"order": ["chosen", "rejected"]},
    "v_dpo": {"guidance": 1.5},
    "visual_tpo": {"base": 0.5},
    "spo": {"weight": 1, "degrees": ["chosen", "half"]},
    "hpo": {"weight": 1, "alpha": 1.0},
}


@pytest.mark.parametrize(("kind", "name"), NAMED)
def test_options_have_names_and_defaults_recipes_rely_on(kind: str, name: str) -> None:
    options = component(kind, name, **REQUIRED.get(name, {})).model_dump(mode="json")
    assert options == {**(LOSSES | ANCHORS)[name], "weight": 1, "label": None}


@pytest.mark.parametrize(("kind", "name"), NAMED)
def test_defaults_may_be_written_out(kind: str, name: str) -> None:
    options = (LOSSES | ANCHORS)[name] | REQUIRED.get(name, {})
    assert component(kind, name, **options) == component(kind, name, **REQUIRED.get(name, {}))


def test_all_of_ours_are_listed_here() -> None:
    registry = current_registry()
    ours = {(kind, name) for kind in ("loss", "anchor") for name in registry.components(kind)}
    assert {each for each in ours if registry.owner(*each) == "objectives"} == set(NAMED)


WITHOUT_REFERENCE = {"slic", "simpo", "cpo", "orpo", "alphapo", "rationale", "sft", "spo", "hpo"}


@pytest.mark.parametrize(("kind", "name"), NAMED)
def test_only_terms_of_the_policy_alone_run_without_a_reference(kind: str, name: str) -> None:
    made = component(kind, name, **REQUIRED.get(name, {}))
    assert made.reads_reference == (name not in WITHOUT_REFERENCE)  # type: ignore[attr-defined]


def test_only_a_form_that_reads_columns_asks_for_them() -> None:
    asked = [("wpo", {}), ("wpo", {"weights": "columns"}), ("sppo", {}), ("sppo", {"hard": True})]
    columns = [len(component("loss", name, **options).columns()) for name, options in asked]  # type: ignore[attr-defined]
    assert columns == [0, 2, 2, 0]


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        *[(name, "beta", 0) for name, options in LOSSES.items() if "beta" in options],
        *[(name, "beta", math.nan) for name, options in LOSSES.items() if "beta" in options],
        *[(name, "label_smoothing", 0.5) for name in ("robust_dpo", "exo", "aot")],
        *[(name, "label_smoothing", -0.1) for name in ("robust_dpo", "exo", "aot")],
        ("exo", "label_smoothing", 0),
        ("ipo", "tau", 0),
        ("discopop", "tau", 0),
        ("discopop", "tau", 1.5),
        ("dpop", "lam", -1),
        ("odpo", "alpha", -1),
        ("odpo", "offset", "ratio"),
        ("spa", "alpha", 1.5),
        ("f_dpo", "alpha", 0),
        ("f_dpo", "alpha", 1),
        ("f_dpo", "divergence", "hellinger"),
        ("ld_dpo", "ld_alpha", 1.5),
        ("ld_dpo", "ld_alpha", -0.5),
        ("tdpo", "variant", 3),
        ("bco", "shift", "walking"),
        ("bco", "shift", math.inf),
        ("kto", "desirable", -1),
        ("softmax_dpo", "over", []),
        ("s_vco", "beta1", 0),
        ("s_vco", "beta2", 0),
        ("rationale", "gamma", 0),
        ("ddpo", "gamma", 0),
        ("dmpo", "gamma", 0),
        ("dmpo", "gamma", 1.1),
        ("v_dpo", "guidance", 0),
        ("visual_tpo", "base", -0.1),
        ("c3po", "k", 1.1),
        ("c3po", "temperature", 0),
        ("spo", "degrees", ["chosen"]),
        ("listwise", "order", ["chosen"]),
        ("listwise", "form", "pairs"),
        ("sparse_po", "masks", "random"),
        ("dpo", "scored", "prompt"),
        ("sparse_po", "l1_u", -1),
        ("sparse_po", "l1_d", -1),
        ("v_dpo", "language_bias", -1),
        ("c3po", "general", -1),
        ("c3po", "near", -1),
        ("c3po", "k", -0.1),
    ],
)
def test_options_that_make_no_sense_are_refused(name: str, option: str, value: object) -> None:
    with pytest.raises(ValidationError, match=option):
        component("loss", name, **REQUIRED.get(name, {}) | {option: value})


# Option and value, beside what it has no effect with, and with what it has one.
ONLY_BESIDE: list[tuple[str, str, Any, dict[str, Any], dict[str, Any]]] = [
    ("tdpo", "alpha", 0.4, {"variant": 1}, {"variant": 2}),
    ("f_dpo", "alpha", 0.3, {"divergence": "js"}, {"divergence": "alpha"}),
    ("f_dpo", "alpha", 0.3, {}, {"divergence": "alpha"}),
    ("sparse_po", "shared", True, {"masks": "activations"}, {"masks": "learned"}),
    ("c3po", "temperature", 2.0, {"k": 0}, {"k": 0.1}),
]


@pytest.mark.parametrize(("name", "option", "value", "beside", "needed"), ONLY_BESIDE)
def test_option_without_effect_is_refused_unless_it_is_default(
    name: str, option: str, value: object, beside: dict[str, Any], needed: dict[str, Any]
) -> None:
    [word] = needed
    with pytest.raises(ValidationError, match=rf"{option} has an effect with .*\b{word}\b.* only: set both"):
        component("loss", name, **beside, **{option: value})
    assert getattr(component("loss", name, **needed, **{option: value}), option) == value
    made = component("loss", name, **beside)
    assert component("loss", name, **made.model_dump(mode="json")) == made


@pytest.mark.parametrize(("option", "value"), [("alpha", 0), ("tau", 0), ("tau", 1), ("advantage", "guessed")])
def test_options_of_hpo_that_make_no_sense_are_refused(option: str, value: object) -> None:
    with pytest.raises(ValidationError, match=option):
        component("anchor", "hpo", **REQUIRED["hpo"] | {"advantage": "value_head", "tau": 0.5} | {option: value})


@pytest.mark.parametrize(
    ("kind", "name", "option"),
    [
        ("loss", "spo", "weight"),
        ("loss", "v_dpo", "guidance"),
        ("loss", "visual_tpo", "base"),
        ("anchor", "hpo", "weight"),
        ("anchor", "hpo", "alpha"),
    ],
)
def test_constants_that_nobody_has_published_are_to_be_given(kind: str, name: str, option: str) -> None:
    others = {key: value for key, value in REQUIRED[name].items() if key != option}
    with pytest.raises(ValidationError, match=rf"{option}\n +Field required"):
        component(kind, name, **others)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("softmax_dpo", {"over": ["rejected", "chosen@crop", "rejected"]}, "must differ, found chosen, rejected, "),
        ("softmax_dpo", {"over": ["chosen"]}, "must differ, found chosen, chosen"),
        ("listwise", {"order": ["chosen", "rejected", "chosen"]}, "one place in the order; found chosen, rejected, ch"),
        ("listwise", {"order": ["chosen", "rejected"], "ranks": ["a"]}, "one column for each of the 2 views, found 1"),
        ("listwise", {"order": ["chosen", "rejected"], "ranks": ["a", "a"]}, "another column for each view; found a"),
        ("visual_tpo", {"base": 0.5, "scored": "prompt_and_response"}, "set 'scored: response', and use views without"),
        ("visual_tpo", {"base": 0.5, "prefer": "prompt+chosen"}, "set 'scored: response', and use views without"),
    ],
)
def test_views_that_make_no_sense_together_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        component("loss", name, **options)


def test_symmpo_scores_crossed_views_as_its_preferred_one() -> None:
    term = component("loss", "symmpo", prefer="prompt+chosen")
    names = [str(view) for view in term.views()]  # type: ignore[attr-defined]
    assert names == ["prompt+chosen", "rejected", "prompt+second", "prompt+chosen@second", "prompt+second@second"]
