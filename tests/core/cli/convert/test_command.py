"""`mdpo convert`: what it writes and says, and what it refuses with a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.paths import LLAVA_MDPO

from mdpo_core import load_recipe
from mdpo_core.cli import main


def test_a_recipe_is_written_with_what_it_lacks_on_the_screen_and_in_its_head(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dpo.yaml").write_text("model_name_or_path: a/b\ndataset_name: c/d\ntf32: true\nmagic: 3\n")
    assert main(["convert", "dpo.yaml", "--out", "mine.yaml"]) == 0
    said = capsys.readouterr()
    sentence = "magic: 3 is not in the recipe; mdpo does not know this option"
    assert said.out == ""
    assert f"dpo.yaml: {sentence}\n" in said.err
    assert said.err.endswith("mine.yaml: 3 things to look at above; next: mdpo check mine.yaml --data\n")
    text = Path("mine.yaml").read_text()
    assert f"# - {sentence}\n" in text
    assert load_recipe("mine.yaml").train.learning_rate == 1e-6  # TRL's default, which differs from ours
    assert main(["check", "mine.yaml"]) == 0
    assert main(["convert", "dpo.yaml", "--out", "mine.yaml"]) == 2
    assert "mine.yaml already exists, and nothing is written over it" in capsys.readouterr().err


def test_without_a_file_the_recipe_goes_to_standard_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = "model_name_or_path: a/b\ndataset_name: c/d\nrouter_aux_loss_coef: 0\n"
    (tmp_path / "dpo.yaml").write_text(options)
    assert main(["convert", str(tmp_path / "dpo.yaml"), "--processes", "2"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("# mdpo-run RECIPE --processes 2\n")
    assert "  batch_size: 16   # 8 a process x 1 accumulated x 2 processes\n" in said.out
    assert said.err == f"{tmp_path / 'dpo.yaml'}: everything is carried over\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("- a\n- b\n", "is no mapping of options"),
        ("", "is no mapping of options"),
        ("a: [\n", "c.yaml:"),
        (
            "unknown: 1\n",
            "has no option by which its trainer is known; say it: --from trl, --from llamafactory",
        ),
        ("loss_type: sigmod\n", "loss_type: the loss 'sigmod' is not known; did you mean 'sigmoid'?"),
        ("loss_type: [sigmoid, sft]\nloss_weights: [1]\n", "loss_weights has 1 number for 2 losses"),
        ("loss_type: hinge\nld_alpha: 0.5\n", "the loss 'hinge' with ld_alpha has no counterpart"),
        ("beta: much\n", "beta must be a number, found 'much'"),
        ("beta: 0\n", "objective.0.beta: input should be greater than 0, found 0.0"),
        ("use_peft: perhaps\n", "use_peft must be true or false, found 'perhaps'"),
        ("model_name_or_path: a/b\ndeepspeed: nothing.json\n", "deepspeed names nothing.json, which is not there"),
        ("stage: sft\n", "stage must be dpo, found sft; mdpo trains on preference pairs"),
        ("stage: dpo\nmodel_name_or_path: a/b\n", "dataset is missing: the configuration names no data set"),
        (
            "stage: dpo\ndataset: a\npref_loss: kto_pair\n",
            "pref_loss must be sigmoid, hinge, ipo, orpo or simpo",
        ),
        ("stage: dpo\nfinetuning_type: freeze\n", "finetuning_type must be lora or full"),
        ("rlhf_type: grpo\ndataset: a\n", "rlhf_type must be dpo, cpo, simpo or orpo, found grpo"),
        ("rlhf_type: dpo\n", "dataset is missing: the arguments name no data set"),
        ("tuner_type: adalora\ndataset: a\n", "tuner_type must be lora or full, found adalora"),
        ("learning_rate: 0\n", "the recipe from these options of TRL is not valid"),
    ],
)
def test_what_no_recipe_can_say_is_refused_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, sentence: str
) -> None:
    (tmp_path / "c.yaml").write_text(text)
    assert main(["convert", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "out.yaml")]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.startswith(str(tmp_path / "c.yaml"))
    assert not (tmp_path / "out.yaml").exists()


def test_a_file_that_is_not_there_and_a_script_of_another_program_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", str(tmp_path / "none.yaml")]) == 2
    assert capsys.readouterr().err == f"{tmp_path / 'none.yaml'}: the file does not exist\n"
    (tmp_path / "run.sh").write_text("python train.py\n")
    assert main(["convert", str(tmp_path / "run.sh")]) == 2
    assert "starts none of these: swift rlhf, trl dpo, llamafactory-cli train" in capsys.readouterr().err


def test_a_recipe_of_ours_is_not_converted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", str(LLAVA_MDPO)]) == 2
    assert "llava_mdpo.yaml is a recipe of mdpo already: mdpo check" in capsys.readouterr().err
