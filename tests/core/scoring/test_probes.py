"""Modules that train beside the model: what they read, what they learn, and where they are kept."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from support.pairs import ANSWERS
from support.processes.launching import launch, records
from transformers import AutoModelForImageTextToText

from mdpo_core import Example, Placement, RecipeError, Scores, View, component, load_recipe, run
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.interfaces.measurements import Probe, TermInputs
from mdpo_core.objective.objective import Objective
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring.probes import AllLayers
from mdpo_core.scoring.reference import AdapterOff
from mdpo_core.scoring.scorer import PLAIN, Scorer

VIEWS = (View("chosen"), View("rejected"))
ASKED = "USER: What is it? ASSISTANT:"
DATA = [Example(str(row), ASKED, {"chosen": ANSWERS[row], "rejected": ANSWERS[row + 1]}) for row in range(2)]
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
def test_probes_read_policy_end_and_every_reference_layer(options: Scoring, llava: Path) -> None:
    made, model = trained(llava)
    probes = {"end": Probe(lambda layers, width: Same()), "all": Probe(lambda layers, width: Same(), "reference")}
    batch = BatchBuilder(made.encoder(), VIEWS, {}, (), 10**9, 0).build(DATA, [0, 1], epoch=0)
    with torch.no_grad():
        scored = Scorer(model, TermInputs(VIEWS, probes=probes), AdapterOff(), options)(batch)
        without = Scorer(model, TermInputs(VIEWS), AdapterOff(), options)(batch)
    plain = AutoModelForImageTextToText.from_pretrained(llava)
    for view in VIEWS:
        torch.testing.assert_close(scored.reference[view].values, without.reference[view].values)
        for row in range(2):
            prompt, answer = batch.items[view][row].prompt, batch.items[view][row].response
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


def test_the_model_is_not_called_before_the_first_batch(llava: Path) -> None:
    # A backend that has shared out the weights puts them together for its own calls alone.
    model, calls = trained(llava)[1], []
    embedding = model.module.get_input_embeddings()
    with embedding.register_forward_pre_hook(lambda *_: calls.append(1)):
        Scorer(model, TermInputs(VIEWS, probes={"same": Probe(lambda layers, width: Same())}), AdapterOff())
    assert not calls


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_first_weights_of_probes_depend_on_the_seed_alone(dropout: float, llava: Path) -> None:
    probes = {"value": Probe(lambda layers, width: torch.nn.Linear(width, 1))}
    lora = {"rank": 2, "alpha": 4, "dropout": dropout}
    model = component("adapter", "llava", path=str(llava), lora=lora).load(Placement())  # type: ignore[attr-defined]
    model.set_training(True)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = Scorer(model, TermInputs(VIEWS, probes=probes), seed=3).probes["value"].weight
    assert torch.get_rng_state().equal(before)
    torch.manual_seed(3)
    expected = torch.nn.Linear(model.hidden_size, 1).weight
    assert torch.equal(first, expected)


def test_layers_are_listened_to_for_the_time_of_a_call(llava: Path) -> None:
    model = adapter(llava).load(Placement())
    before = [len(layer._forward_hooks) for layer in model.layers()]
    from mdpo_core.types.layout import pad_view

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
    scorer = Scorer(model, objective.reads, AdapterOff(), Scoring())
    scores_ = Scores.of_batch(scorer(batch), batch)
    metrics = objective(scores_).metrics
    num_tokens = scores_.num_tokens["chosen"] + scores_.num_tokens["rejected"]
    torch.testing.assert_close(metrics["loss/sparse"], metrics["loss/tdpo"] + 0.75 * num_tokens)
    objective(scores_).loss.sum().backward()
    [probe] = scorer.probes.values()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in probe.parameters())


RUNS = {
    "sparse_po": ("{loss: sparse_po, l1_u: 0.0, l1_d: 0.0}", lambda _: math.log(2)),
    "mapo": ("{loss: sparse_po, masks: activations, l1_u: 0.0, l1_d: 0.0}", lambda _: math.log(2)),
    "spo": ("{loss: dpo}, {loss: spo, degrees: [chosen, rejected], weight: 0.5}", None),
    "hpo": ("{anchor: hpo, weight: 1.0, alpha: 1.0, advantage: value_head, tau: 0.7}", None),
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


@pytest.mark.parametrize(
    "name", [name if name == "sparse_po" else pytest.param(name, marks=pytest.mark.long) for name in RUNS]
)
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
        ("", "trains an extra module beside the model, which the backend 'fsdp' cannot do"),
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
    hpo = "{anchor: hpo, weight: 1.0, alpha: 1.0, advantage: value_head, tau: 0.7}"
    objective = f"{{loss: sparse_po}}, {{loss: spo, weight: 1.0, degrees: [chosen, rejected]}}, {hpo}"
    file = recipe(llava, tmp_path, objective)
    # Steps so small that AdamW's signs of tiny gradients do not decide.
    same = ["train.learning_rate=1.0e-3"]
    run(load_recipe(file, same), run_dir=tmp_path / "one")
    finished = launch(same, tmp_path / "two", "--processes", "2", recipe=file)
    assert finished.returncode == 0, finished.stderr
    one, two = ([line["loss"] for line in records(tmp_path / name)] for name in ("one", "two"))
    assert len(one) == 4
    assert one == pytest.approx(two, abs=1e-4)
    saved = [probe_weights(sorted((tmp_path / name / "checkpoints").iterdir())[-1]) for name in ("one", "two")]
    assert saved[0].keys() == saved[1].keys()
    assert len(saved[0]) == 6
    for name, value in saved[0].items():
        torch.testing.assert_close(saved[1][name], value, atol=1e-4, rtol=0)


def test_probes_compute_in_float32_under_autocast(llava: Path) -> None:
    made, model = trained(llava)
    types = []

    class Typed(torch.nn.Linear):
        def forward(self, states: torch.Tensor) -> torch.Tensor:
            found = super().forward(states.flatten(1))
            types.append((states.dtype, found.dtype))
            return found

    probes = {"end": Probe(lambda layers, width: Typed(layers * width, 1))}
    batch = BatchBuilder(made.encoder(), VIEWS, {}, (), 10**9, 0).build(DATA, [0, 1], epoch=0)
    with torch.autocast("cpu", torch.bfloat16):
        Scorer(model, TermInputs(VIEWS, probes=probes), AdapterOff(), Scoring())(batch)
    assert types == [(torch.float32, torch.float32)]
