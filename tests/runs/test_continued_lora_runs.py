"""Whole runs that train an adapter of SFT on: their reference, their files, their answers, and several processes."""

from __future__ import annotations

import json
import shutil
import signal
from itertools import count
from pathlib import Path

import PIL.Image
import pytest
import torch
from support.builders.continued import plain, tuned_by_peft
from support.builders.small_vlms import build_vlm
from support.paths import RECIPES
from support.processes.launching import EVERY, contents, launch, records, require_same_training
from transformers import AutoModelForImageTextToText

from mdpo_core import IMAGE_MARK, Placement, RecipeError, component, load_recipe, run
from mdpo_core.cli import main
from mdpo_core.interfaces.model import Decoding
from mdpo_core.storage.export import export_run
from mdpo_core.training import trainer
from mdpo_core.types.example import Example
from mdpo_core.use.found import find_trained
from mdpo_core.use.trained import ask

RECIPE = RECIPES / "qwen2_5_vl_mdpo.yaml"
NIGHTLY = pytest.mark.nightly(reason="one process and the contract of adapters are tested more often")
QUESTION = f"{IMAGE_MARK}What is it?"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_vlm("qwen2_5_vl", tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(scope="module")
def tuned(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pattern = r".*language_model.*(q_proj|v_proj)"
    return tuned_by_peft(base, tmp_path_factory.mktemp("tuned") / "sft", r=4, lora_alpha=16, target_modules=pattern)


@pytest.fixture
def words(changes: list[str], sizes: list[str], tuned: Path) -> list[str]:
    """Changes that train the adapter on, in one process, so fast that each step shows."""
    return [
        *(change for change in changes if not change.startswith(("backend", "model"))),
        *(*sizes, f"model.path={tuned}", "model.continue_lora=true", "train.learning_rate=1.0e-3"),
        "model.lora={rank: 4, alpha: 16, targets: [q_proj, v_proj], dropout: 0}",
        "backend={backend: local, precision: fp32}",
        *("train.epochs=2", "output.save_every=1", "train.micro_batch_size=1"),
    ]


@pytest.mark.long
@pytest.mark.parametrize("reference", ["adapter_off", "frozen_copy", "cached"])
def test_every_reference_is_the_model_with_the_adapter_as_it_was(
    reference: str, words: list[str], tmp_path: Path
) -> None:
    run(load_recipe(RECIPE, [*words, f"reference={reference}"]), run_dir=tmp_path / reference)
    run(load_recipe(RECIPE, words), run_dir=tmp_path / "auto")
    first, *rest = (line for line in records(tmp_path / reference) if "loss" in line)
    assert first["loss/text"] == pytest.approx(0.6931, abs=1e-4)
    assert rest[-1]["loss/text"] != pytest.approx(0.6931, abs=1e-4)
    require_same_training(tmp_path / reference, tmp_path / "auto", 1e-5)


@pytest.mark.long
@pytest.mark.parametrize("reference", ["adapter_off", "cached"])
def test_dropout_changes_the_first_step_and_is_no_difference_of_models(
    reference: str, words: list[str], tmp_path: Path
) -> None:
    run(load_recipe(RECIPE, [*words, "model.lora.dropout=0.3", f"reference={reference}"]), run_dir=tmp_path / "run")
    first = next(line for line in records(tmp_path / "run") if "loss" in line)
    assert first["loss/text"] != pytest.approx(0.6931, abs=1e-4)


@pytest.mark.long
def test_a_run_stops_resumes_exports_and_answers(
    words: list[str], base: Path, tuned: Path, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stopped, asked = tmp_path / "whole", tmp_path / "stopped", count(1)
    settings = [word for change in words for word in ("--set", change)]
    run(load_recipe(RECIPE, words), run_dir=whole)
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "asked_to_stop", lambda world: signal.SIGTERM if next(asked) == 2 else None)
        assert main(["run", str(RECIPE), *settings, "--run-dir", str(stopped)]) == 128 + signal.SIGTERM
    assert main(["run", str(RECIPE), *settings, "--run-dir", str(stopped), "--resume"]) == 0
    assert contents(stopped / "final") == contents(whole / "final")

    # plain peft puts the export on the model, and not on that of SFT
    exported, merged = plain(base, whole / "final"), tmp_path / "merged"
    options = json.loads((whole / "final" / "adapter_config.json").read_text())
    assert options["base_model_name_or_path"] == str(base)
    before = dict(plain(base, tuned).named_parameters())
    after = {name: value for name, value in exported.named_parameters() if "lora_" in name}
    assert all(not value.equal(before[name]) for name, value in after.items())
    export_run(whole, merged, merge=True)
    expected = exported.merge_and_unload().state_dict()
    for name, value in AutoModelForImageTextToText.from_pretrained(merged).state_dict().items():
        torch.testing.assert_close(value, expected[name], atol=1e-6, rtol=1e-6)

    require_answers(whole, tuned, question_about(photographs))


def question_about(photographs: Path) -> Example:
    with PIL.Image.open(sorted(photographs.iterdir())[0]) as opened:
        return Example("0", QUESTION, {}, (opened.convert("RGB"),))


def require_answers(folder: Path, tuned: Path, example: Example) -> None:
    """`mdpo ask --base` of a run, and of its checkpoint, compares with the model of SFT."""
    decoding = Decoding(8)
    sft = component("adapter", "chat_vlm", path=str(tuned))
    encoder = sft.encoder()
    [expected] = sft.load(Placement(), trainable=False).generate([encoder.encode_prompt(example)], decoding)
    for found in (find_trained(folder), find_trained(folder, step=3)):
        answers = ask(found, example, decoding, compare=True)
        assert answers.untrained == encoder.decode(expected)
        assert answers.trained != answers.untrained


@pytest.mark.long
def test_models_that_were_moved_are_found_where_the_user_says(
    words: list[str], base: Path, tuned: Path, photographs: Path, tmp_path: Path
) -> None:
    home, away = tmp_path / "home", tmp_path / "away"
    away.mkdir()
    shutil.copytree(base, home / "model")
    shutil.copytree(tuned, home / "sft")
    own = [f"model.path={home / 'sft'}", f"model.base={home / 'model'}", "train.epochs=1"]
    done = run(load_recipe(RECIPE, [*words, *own]), run_dir=tmp_path / "run")
    final = Path(shutil.copytree(done.final, away / "exported"))
    example, decoding = question_about(photographs), Decoding(8)
    expected = ask(find_trained(final), example, decoding, compare=True)

    (home / "sft").rename(away / "sft")  # the export needs it only to compare
    assert ask(find_trained(final), example, decoding, compare=False).trained == expected.trained
    with pytest.raises(RecipeError, match=r"the model before training, '.*home/sft', is not found: was it moved\?"):
        ask(find_trained(final), example, decoding, compare=True)
    assert ask(find_trained(final, base_path=str(away / "sft")), example, decoding, compare=True) == expected

    (away / "sft").rename(home / "sft")
    (home / "model").rename(away / "model")
    with pytest.raises(RecipeError, match=r"'.*home/model', is not found: was it moved\?"):
        find_trained(final)
    assert ask(find_trained(final, base_path=str(away / "model")), example, decoding, compare=True) == expected


@NIGHTLY
@pytest.mark.parametrize("backend", ["zero_2", "zero_3", "fsdp"])
def test_two_processes_train_it_on_as_one(backend: str, words: list[str], tmp_path: Path) -> None:
    same = [*(word for word in words if not word.startswith("backend")), "train.learning_rate=1.0e-4"]
    run(load_recipe(RECIPE, [*same, f"backend={EVERY['ddp']}"]), run_dir=tmp_path / "one")
    finished = launch([*same, f"backend={EVERY[backend]}"], tmp_path / "two", "--processes", "2", recipe=RECIPE)
    assert finished.returncode == 0, finished.stderr
    require_same_training(tmp_path / "two", tmp_path / "one", 1e-4)
