"""Every loss and anchor against the check values of objectives.md, from Python and from recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML
from support.oracles.loss_vectors import COLUMNS, VECTORS, Entry, as_scores, entries, views_of

from mdpo_core import Term, component, load_recipe
from mdpo_core.objective.objective import Objective

NAMES = sorted(VECTORS)


def from_python(entry: Entry) -> Term:
    options = dict(entry)
    kind = "loss" if "loss" in options else "anchor"
    made = component(kind, options.pop(kind), **options)
    assert isinstance(made, Term)
    return made


def from_recipe(listed: list[Entry], folder: Path) -> list[Term]:
    recipe = {
        "model": {"adapter": "digits"},
        "data": {
            "reader": "pairs",
            "path": "pairs.json",
            "responses": {name: name for name in ("chosen", "rejected", "rationale", "other")},
            "columns": sorted(set(COLUMNS.values())),
        },
        "corruptions": {name: {"corruption": "blank"} for name in ("crop", "none", "twin")},
        "objective": listed,
        "backend": {"backend": "local"},
        "output": {"dir": "runs/x"},
    }
    file = folder / "recipe.yaml"
    with file.open("w") as out:
        YAML().dump(recipe, out)
    return list(load_recipe(file).objective)


def made(name: str, path: str, folder: Path) -> Objective:
    listed = entries(name, VECTORS[name]["params"])
    terms = [from_python(entry) for entry in listed] if path == "python" else from_recipe(listed, folder)
    return Objective({str(place): term for place, term in enumerate(terms)})


def tensor(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.fixture(autouse=True)
def edits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check values say which tokens an edit has changed: those whose id is odd (see `as_scores`).

    No two responses have such edits, as their unchanged tokens differ in number. So ddpo's arithmetic is held to these
    values, and how it finds edits in `test_losses_tokens.py`.
    """
    monkeypatch.setattr(
        "mdpo_objectives.losses.segments.changed_tokens", lambda *sides: [ids % 2 == 1 for ids in sides]
    )


@pytest.mark.parametrize("path", ["python", "recipe"])
@pytest.mark.parametrize("name", NAMES)
def test_each_objective_gives_its_values(name: str, path: str, tmp_path: Path) -> None:
    found = as_scores(name, VECTORS[name]["inputs"])
    loss = made(name, path, tmp_path)(found).loss
    torch.testing.assert_close(loss, tensor(VECTORS[name]["expected"]), rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in NAMES if VECTORS[name].get("grad")])
def test_each_objective_gives_its_gradients(name: str, tmp_path: Path) -> None:
    found = as_scores(name, VECTORS[name]["inputs"], needs_gradient=True)
    torch.autograd.backward(made(name, "python", tmp_path)(found).loss.sum())
    for field, expected in VECTORS[name]["grad"].items():
        ending = field.removeprefix("pol_")
        gradient = found.policy[views_of(name).get(ending, ending)].grad
        torch.testing.assert_close(gradient, tensor(expected), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in NAMES if "edge" in VECTORS[name]])
def test_huge_margins_give_exact_values_and_finite_gradients(name: str, tmp_path: Path) -> None:
    edge = VECTORS[name]["edge"]
    found = as_scores(name, edge["inputs"], needs_gradient=True)
    loss = made(name, "python", tmp_path)(found).loss
    torch.testing.assert_close(loss, tensor(edge["expected"]), rtol=1e-10, atol=1e-9)
    torch.autograd.backward(loss.sum())
    gradients = [sums.grad for sums in found.policy.values() if sums.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)
