"""`mdpo check --memory` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mdpo_vlm import BundledAdapter
from support.paths import RECIPES

from mdpo_core.cli import main

RECIPE = str(RECIPES / "llava_mdpo.yaml")


@pytest.fixture
def words(small: list[str]) -> list[str]:
    return ["check", RECIPE, *(word for change in small for word in ("--set", change))]


def test_the_estimate_is_printed_and_written(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "memory.json"
    assert main([*words, "--memory", "--json", str(file)]) == 0
    printed, numbers = capsys.readouterr().out, json.loads(file.read_text())
    assert max(map(len, printed.splitlines()[1:])) <= 80
    assert numbers["peak_gb"] == max(numbers[f"{phase}_gb"] for phase in ("forward", "backward", "update"))
    kept = sum(numbers[f"{kind}_gb"] for kind in ("weights", "optimizer", "activations"))
    assert kept <= numbers["peak_gb"] <= numbers["card_gb"]
    assert numbers["pairs"] == 2
    assert "longest micro-batch" in printed


def test_a_card_that_is_large_enough_gives_0(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--gpu", "h100"]) == 0
    assert "it fits. The largest train.micro_batch_size that fits is" in capsys.readouterr().out


def test_a_card_that_is_too_small_gives_1(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--gpu", "1"]) == 1
    printed = capsys.readouterr().out
    assert "it does not fit, nor with these changes together" in printed
    assert "The least that was tried needs a card of 1.1 GB" in printed


def test_an_unknown_card_is_refused_before_data_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", RECIPE, "--gpu", "voodoo2"]) == 2
    assert "the card 'voodoo2' is not known" in capsys.readouterr().err


@pytest.mark.long
def test_the_quickstart_fits_a_small_card(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(RECIPES / "quickstart.yaml"), "--gpu", "4", "--set", "data.num_pairs=64"]) == 0
    assert "A card of 4 GB: it fits" in capsys.readouterr().out


def test_an_adapter_without_a_sketch_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("sketch", "depth"):
        monkeypatch.delattr(BundledAdapter, name)
    assert main(["check", str(RECIPES / "quickstart.yaml"), "--memory"]) == 2
    assert "the adapter 'digits' cannot say how much memory its models need" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_refused_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", RECIPE, "--json", str(tmp_path / "absent" / "memory.json")]) == 2
    assert "--json: the folder" in capsys.readouterr().err
