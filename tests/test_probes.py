"""Modules that train beside the model: what they read, what they learn, and where they are kept."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ANSWERS
from hypothesis import given, settings
from hypothesis import strategies as st
from launched import launch, records
from safetensors import safe_open
from transformers import AutoModelForImageTextToText

from mdpo_core import Example, Placement, RecipeError, Scores, View, component, load_recipe, run
from mdpo_core.encoding import BatchBuilder
from mdpo_core.objective import Objective
from mdpo_core.probes import AllLayers, Probe
from mdpo_core.recipe import Scoring
from mdpo_core.reference import AdapterOff
from mdpo_core.scorer import PLAIN, Scorer
from mdpo_core.scores import ByView
from mdpo_core.testing import scores

VIEWS = (View("chosen"), View("rejected"))
ASKED = "USER: What is it? ASSISTANT:"
DATA = [Example(str(row), ASKED, {"chosen": ANSWERS[row], "rejected": ANSWERS[row + 1]}) for row in range(2)]
PROPERTY = settings(deadline=None, max_examples=40)
WAYS = pytest.mark.parametrize("options", [PLAIN, Scoring()], ids=["plain", "shared"])


def adapter(llava: Path) -> Any:
    return component("adapter", "llava", path=str(llava), lora={"rank": 2, "alpha": 4, "dropout": 0.0})


def trained(llava: Path) -> tuple[Any, Any]:
    """An adapter, and a model of it that is not the reference any more."""
    made = adapter(llava)
    model = made.load(Placement())
    with torch.no_grad():
        for name, parameter in model.module.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    return made, model


class Same(torch.nn.Module):
    """Gives what it reads."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return states.flatten(1)


@WAYS
def test_probes_read_the_policy_s_end_and_every_layer_of_the_reference(options: Scoring, llava: Path) -> None:
    made, model = trained(llava)
    probes = {"end": Probe(lambda layers, width: Same()), "all": Probe(lambda layers, width: Same(), "reference")}
    batch = BatchBuilder(made.encoder(), VIEWS, {}, (), 10**9, 0).build(DATA, [0, 1], epoch=0)
    with torch.no_grad():
        scored = Scorer(model, VIEWS, AdapterOff(), options, probes=probes)(batch)
        without = Scorer(model, VIEWS, AdapterOff(), options)(batch)
    plain = AutoModelForImageTextToText.from_pretrained(llava)
    for view in VIEWS:
        torch.testing.assert_close(scored.reference[view].values, without.reference[view].values)
        for row in range(2):
            prompt, answer = batch.prompts["clean"][row], batch.responses[view.response][row]
            ids, places = torch.cat([prompt, answer])[None], slice(len(prompt) - 1, -1)
            with torch.no_grad():
                of_base = plain(input_ids=ids, output_hidden_states=True).hidden_states
                of_policy = model.module(input_ids=ids, output_hidden_states=True).hidden_states[-1]
            found = scored.probes["end"][view][row, : len(answer)]
            torch.testing.assert_close(found, of_policy[0, places], atol=1e-4, rtol=1e-4)
            assert not scored.probes["end"][view][row, len(answer) :].any()
            layers = scored.probes["all"][view][row, : len(answer)].unflatten(1, (len(of_base) - 1, -1))
            # The last of transformers' is behind the norm.
            for number, expected in enumerate(of_base[1:-1]):
                torch.testing.assert_close(layers[:, number], expected[0, places], atol=1e-4, rtol=1e-4)


def test_layers_are_listened_to_for_the_time_of_a_call(llava: Path) -> None:
    model = adapter(llava).load(Placement())
    before = [len(layer._forward_hooks) for layer in model.layers()]
    from mdpo_core.layout import pad_view

    rows = pad_view([torch.tensor([1, 5, 6])], [torch.tensor([7, 2])])
    assert AllLayers(model).hidden_states(rows, ()).shape[-2] == len(before) + 1
    assert [len(layer._forward_hooks) for layer in model.layers()] == before


def test_sparse_po_begins_as_tdpo_of_all_tokens(llava: Path) -> None:
    made, model = trained(llava)
    terms = {
        "sparse": component("loss", "sparse_po", l1_u=0.25, l1_d=0.5),
        "tdpo": component("loss", "tdpo", variant=1),
    }
    objective = Objective(terms)  # type: ignore[arg-type]
    batch = BatchBuilder(made.encoder(), VIEWS, {}, (), 10**9, 0).build(DATA, [0, 1], epoch=0)
    scorer = Scorer(model, VIEWS, AdapterOff(), Scoring(), objective.statistics, probes=objective.probes)
    scores_ = Scores.of_batch(scorer(batch), batch)
    metrics = objective(scores_).metrics
    num_tokens = scores_.num_tokens["chosen"] + scores_.num_tokens["rejected"]
    torch.testing.assert_close(metrics["loss/sparse"], metrics["loss/tdpo"] + 0.75 * num_tokens)
    objective(scores_).loss.sum().backward()
    [probe] = scorer.probes.values()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in probe.parameters())


def masked(found: Scores, masks: torch.Tensor) -> Scores:
    """With the part of some masks that there are tokens for."""
    shapes = {view: tokens.mask.shape for view, tokens in found.policy_tokens.items()}
    cut = {view: masks[:rows, :time] for view, (rows, time) in shapes.items()}
    return replace(found, probes={"masks": ByView(cut)})


@PROPERTY
@given(scores(VIEWS), st.floats(0.01, 2), st.floats(0, 1), st.floats(0, 1), st.integers(0, 99))
def test_sparse_po_counts_what_its_masks_let(found: Scores, beta: float, l1_u: float, l1_d: float, seed: int) -> None:
    term: Any = component("loss", "sparse_po", beta=beta, l1_u=l1_u, l1_d=l1_d)
    masks = torch.rand(4, 4, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    divergence = {view: tokens.values.abs() / 7 for view, tokens in found.policy_tokens.items()}
    seen = replace(masked(found, masks), statistics={"divergence_from_reference": ByView(divergence)})
    for row, value in enumerate(term(seen).tolist()):
        u, d, cost = {}, {}, 0.0
        for view in VIEWS:
            length = int(found.num_tokens[view][row])
            policy, reference = (
                side[view].values[row, :length].tolist() for side in (found.policy_tokens, found.reference_tokens)
            )
            kl = divergence[view][row, :length].tolist()
            one, other = masks[row, :length, 0].tolist(), masks[row, :length, 1].tolist()
            u[view] = sum(m * (p - q) for m, p, q in zip(one, policy, reference, strict=True))
            d[view] = sum(m * k for m, k in zip(other, kl, strict=True))
            cost += l1_u * sum(one) + l1_d * sum(other)
        x = beta * ((u[VIEWS[0]] - u[VIEWS[1]]) - (d[VIEWS[1]] - d[VIEWS[0]]))
        plain = math.log1p(math.exp(-x)) if x > 0 else -x + math.log1p(math.exp(x))
        assert value == pytest.approx(plain + cost, rel=1e-9, abs=1e-9)


def test_masks_of_activations_are_standardized_over_a_response() -> None:
    from mdpo_objectives.masks import standardized

    values = torch.tensor([[[1.0, 4.0], [3.0, 4.0], [8.0, 7.0], [99.0, 99.0]]], dtype=torch.float64)
    mask = torch.tensor([[True, True, True, False]])
    found = standardized(values, mask)
    for layer in range(2):
        inside = values[0, :3, layer]
        torch.testing.assert_close(found[0, :3, layer], (inside - inside.mean()) / inside.std(correction=0))
    assert not found[0, 3].any()
    alike = torch.ones(1, 3, 1)
    assert not standardized(alike, alike[..., 0].bool()).any()


@PROPERTY
@given(scores(("chosen", "half", "little")))
def test_spo_tells_degrees_by_the_last_token(found: Scores) -> None:
    term: Any = component("loss", "spo", degrees=["chosen", "half", "little"])
    outputs = {
        view: torch.stack([tokens.values, -tokens.values / 2, tokens.values * 0 - 3], dim=-1)
        for view, tokens in found.policy_tokens.items()
    }
    values = term(replace(found, probes={"degree": ByView(outputs)}))
    for row, value in enumerate(values.tolist()):
        cost = 0.0
        for degree, view in enumerate(("chosen", "half", "little")):
            last = float(found.policy_tokens[view].values[row, int(found.num_tokens[view][row]) - 1])
            logits = [last, -last / 2, -3.0]
            top = max(logits)
            cost += top + math.log(sum(math.exp(logit - top) for logit in logits)) - logits[degree]
        assert value == pytest.approx(cost / 3, rel=1e-9, abs=1e-9)


@PROPERTY
@given(scores(("chosen",), {"reward": st.floats(-3, 3)}), st.floats(0.5, 5), st.floats(0.1, 0.9), st.floats(-2, 2))
def test_hpo_s_value_head_aims_at_an_expectile_and_its_advantage_is_detached(
    found: Scores, alpha: float, tau: float, value: float
) -> None:
    term: Any = component("anchor", "hpo", alpha=alpha, advantage="value_head", tau=tau)
    outputs = torch.full((*found.policy_tokens["chosen"].mask.shape, 1), value, dtype=torch.float64, requires_grad=True)
    total = term(replace(found, probes={"value": ByView({"chosen": outputs})}))
    slope = torch.autograd.grad(total.sum(), outputs)[0][:, 0, 0]
    for row, cost in enumerate(total.tolist()):
        apart = float(found.columns["reward"][row]) - value
        share = 1 - tau if apart < 0 else tau
        expected = -math.exp(apart / alpha) * float(found.policy["chosen"][row]) + share * apart**2
        assert cost == pytest.approx(expected, rel=1e-9, abs=1e-9)
        assert slope[row].item() == pytest.approx(-2 * share * apart, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("options", [{"tau": 0.5}, {"advantage": "value_head"}])
def test_tau_and_a_value_head_go_together(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="tau is the expectile of a value head"):
        component("anchor", "hpo", alpha=1.0, **options)


RUNS = {
    "sparse_po": ("{loss: sparse_po, l1_u: 0.0, l1_d: 0.0}", lambda _: math.log(2)),
    "mapo": ("{loss: sparse_po, masks: activations, l1_u: 0.0, l1_d: 0.0}", lambda _: math.log(2)),
    "spo": ("{loss: dpo}, {loss: spo, degrees: [chosen, rejected], weight: 0.5}", None),
    "hpo": ("{anchor: hpo, alpha: 1.0, advantage: value_head, tau: 0.7}", None),
}


def recipe(llava: Path, folder: Path, objective: str, more: str = "") -> Path:
    rows = [{"prompt": ASKED, "chosen": ANSWERS[row], "rejected": ANSWERS[row - 1], "reward": row} for row in range(4)]
    (folder / "pairs.json").write_text(json.dumps(rows))
    (folder / "recipe.yaml").write_text(
        f"model: {{adapter: llava, path: {llava}, lora: {{rank: 2, alpha: 4, dropout: 0.0}}}}\n"
        f"data: {{reader: pairs, path: {folder / 'pairs.json'}, image: null, columns: [reward]}}\n"
        f"objective: [{objective}]\n"
        "train: {epochs: 2, batch_size: 2, micro_batch_size: 1, learning_rate: 0.01}\n"
        f"backend: {{backend: local, device: cpu}}\n{more}"
        f"output: {{dir: {folder / 'run'}, save_every: 2}}\n"
    )
    return folder / "recipe.yaml"


@pytest.mark.parametrize("name", RUNS)
def test_a_run_trains_probes_saves_them_and_resumes_to_the_bit(name: str, llava: Path, tmp_path: Path) -> None:
    objective, expected = RUNS[name]
    file = recipe(llava, tmp_path, objective)
    done = run(load_recipe(file))
    lines = [json.loads(line) for line in (done.run_dir / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == 4
    assert expected is None or losses[0] == pytest.approx(expected(None), abs=1e-5)
    assert len(set(losses)) == 4
    saved = sorted((done.run_dir / "checkpoints").iterdir())
    first, last = (probe_weights(folder) for folder in (saved[0], saved[-1]))
    assert (name == "mapo") == (not last)
    assert all(not first[key].equal(last[key]) for key in last)
    final = {path.name: path.read_bytes() for path in done.final.iterdir()}
    # As a run that was killed behind its second step.
    shutil.rmtree(saved[-1])
    shutil.rmtree(done.final)
    again = run(load_recipe(file), resume=True)
    assert {path.name: path.read_bytes() for path in again.final.iterdir()} == final
    for key, value in probe_weights(sorted((again.run_dir / "checkpoints").iterdir())[-1]).items():
        assert value.equal(last[key])


def probe_weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    found = {}
    for file in checkpoint.glob("*.safetensors"):
        with safe_open(file, "pt") as opened:
            found |= {key: opened.get_tensor(key) for key in opened.keys() if key.startswith("weight:probes")}  # noqa: SIM118
    return found


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("reference: cached\n", "reads every layer of the reference, which 'reference: cached' does not keep"),
        ("", "trains a module of its own beside the model, which the backend 'fsdp' does not"),
    ],
)
def test_what_probes_cannot_work_with_is_said_before_training(
    more: str, message: str, llava: Path, tmp_path: Path
) -> None:
    file = recipe(llava, tmp_path, "{loss: sparse_po}", more)
    if not more:
        file.write_text(file.read_text().replace("{backend: local, device: cpu}", "{backend: fsdp}"))
    with pytest.raises(RecipeError, match=message):
        load_recipe(file)


@pytest.mark.long
def test_two_processes_train_probes_as_one_does(llava: Path, tmp_path: Path) -> None:
    hpo = "{anchor: hpo, alpha: 1.0, advantage: value_head, tau: 0.7}"
    objective = f"{{loss: sparse_po}}, {{loss: spo, degrees: [chosen, rejected]}}, {hpo}"
    file = recipe(llava, tmp_path, objective)
    # Steps so small that AdamW's signs of tiny gradients do not decide.
    same = ["train.learning_rate=1.0e-3"]
    for processes, folder in (("1", tmp_path / "one"), ("2", tmp_path / "two")):
        finished = launch(same, folder, "--processes", processes, recipe=file)
        assert finished.returncode == 0, finished.stderr
    one, two = ([line["loss"] for line in records(tmp_path / name)] for name in ("one", "two"))
    assert len(one) == 4
    assert one == pytest.approx(two, abs=1e-4)
    saved = [probe_weights(sorted((tmp_path / name / "checkpoints").iterdir())[-1]) for name in ("one", "two")]
    assert saved[0].keys() == saved[1].keys()
    assert len(saved[0]) == 6
    for name, value in saved[0].items():
        torch.testing.assert_close(saved[1][name], value, atol=1e-4, rtol=0)
