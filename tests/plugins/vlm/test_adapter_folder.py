"""Folders with adapters: put on only if every tensor has its place, and every place its tensor."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from support.builders.llava_adapter import adapter, example, logits
from support.builders.small_llava import build_llava
from transformers import AutoModelForImageTextToText

from mdpo_core import DataError, Placement

LORA = {"rank": 2, "alpha": 4, "dropout": 0.0}
# Takes exponentially long on any name of a module.
ENDLESS = "((([a-z_.0-9]+)+)+)+!"
Change = Callable[[Path], object]


@pytest.fixture(scope="module")
def exported(llava: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that changes the model."""
    folder = tmp_path_factory.mktemp("exported") / "final"
    torch.manual_seed(0)
    model = adapter(llava, lora=LORA).load(Placement())
    with torch.no_grad():
        for name, value in model.module.named_parameters():
            if "lora_B" in name:
                value.normal_(std=0.2)
    model.export(folder)
    return folder


def options(**changes: object) -> Change:
    def changed(folder: Path) -> None:
        file = folder / "adapter_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return changed


def tensors(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Change:
    def changed(folder: Path) -> None:
        file = folder / "adapter_model.safetensors"
        save_file(change(load_file(file)), file, metadata={"format": "pt"})

    return changed


def as_pipe(folder: Path) -> None:
    (folder / "adapter_model.safetensors").unlink()
    os.mkfifo(folder / "adapter_model.safetensors")


def changed(exported: Path, folder: Path, change: Change) -> Path:
    shutil.copytree(exported, folder)
    change(folder)
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (tensors(lambda all_: dict(sorted(all_.items())[::2])), "14 missing tensors: base_model.model.model.language"),
        (tensors(lambda all_: {f"x.{name}": value for name, value in all_.items()}), "28 unexpected tensors: x.base"),
        (tensors(lambda all_: {name: value.T.contiguous() for name, value in all_.items()}), "28 mismatched tensors"),
        (tensors(lambda all_: {name: value.int() for name, value in all_.items()}), "has the type I32; weights have"),
        (options(target_modules=["o_proj"]), "24 unexpected tensors"),
        (options(use_dora=True), "lora_magnitude_vector"),
        (options(r=3), "28 mismatched tensors"),
        (options(modules_to_save=["lm_head"]), "1 missing tensors: base_model.model.lm_head.weight"),
        (options(modules_to_save=["head"]), "adapter_config.json: modules_to_save names 'head', which the model does"),
        (options(bias="all"), "adapter_config.json: bias is 'all', so biases of the model are in the file"),
        (options(peft_type="IA3"), "adapter_config.json: peft_type is 'IA3', and mdpo reads adapters of the type LORA"),
        (options(r="2"), "adapter_config.json: r: input should be a valid integer, found '2'"),
        (options(lora_alpha=float("nan")), "adapter_config.json: lora_alpha: input should be"),
        (options(init_lora_weights="pissa"), "adapter_config.json: init_lora_weights is 'pissa', which also changes"),
        (
            options(layer_replication=[[0, 2], [0, 2]]),
            "layer_replication is [[0, 2], [0, 2]], which mdpo does not read",
        ),
        (options(target_modules="((("), "adapter_config.json: peft cannot use it (error: missing )"),
        (options(base_model_name_or_path="other/model"), "base_model_name_or_path is 'other/model', but the recipe's"),
        (lambda folder: (folder / "adapter_config.json").write_text("[" * 100000), "brackets in it are nested too"),
        (lambda folder: (folder / "config.json").write_text("{}"), "contains a model and an adapter"),
        (as_pipe, "adapter_model.safetensors: is not a file, or a link to nothing"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused(
    change: Change, message: str, exported: Path, llava: Path, tmp_path: Path
) -> None:
    folder = changed(exported, tmp_path / "changed", change)
    with pytest.raises(DataError) as caught:
        adapter(llava, lora=LORA).check_exported(folder)
    assert message in str(caught.value)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("option", ["target_modules", "rank_pattern"])
def test_a_pattern_without_an_end_is_refused_in_seconds(
    option: str, exported: Path, llava: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mdpo_vlm.parts import adapter_folder

    monkeypatch.setattr(adapter_folder, "_SECONDS", 0.5)
    value: Any = ENDLESS if option == "target_modules" else {ENDLESS: 4}
    folder = changed(exported, tmp_path / "changed", options(**{option: value}))
    start = time.process_time()
    with pytest.raises(DataError, match=r"adapter_config\.json: peft cannot use it \(TimeLimitError"):
        adapter(llava, lora=LORA).check_exported(folder)
    assert time.process_time() - start < 10


def test_an_adapter_with_nan_is_refused_when_it_is_loaded(exported: Path, llava: Path, tmp_path: Path) -> None:
    change = tensors(lambda all_: {name: value.fill_(float("nan")) for name, value in all_.items()})
    folder = changed(exported, tmp_path / "changed", change)
    with pytest.raises(DataError, match="contains numbers that are infinite or NaN"):
        adapter(llava, lora=LORA).load_exported(folder, Placement())


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: None,
        options(base_model_name_or_path=None),
        options(target_modules=r"model\.language_model\..*_proj"),
    ],
)
def test_an_adapter_that_fits_is_put_on(
    change: Change, exported: Path, llava: Path, photographs: Path, tmp_path: Path
) -> None:
    made = adapter(llava, lora=LORA)
    folder = changed(exported, tmp_path / "changed", change)
    made.check_exported(folder)
    encoder, model = made.load_exported(folder, Placement())
    prompt = encoder.encode_prompt(example(photographs))
    as_exported = made.load_exported(exported, Placement())[1]
    assert torch.equal(logits(model, prompt), logits(as_exported, prompt))
    assert not torch.equal(logits(model, prompt), logits(made.load(Placement(), trainable=False), prompt))


SUFFIXES = {"r": 2, "lora_alpha": 4, "target_modules": r".*language_model.*\.(q_proj|v_proj|down_proj)"}


@pytest.mark.parametrize(
    "changes",
    [
        {"use_dora": True},
        {"use_rslora": True, "exclude_modules": ["model.language_model.layers.0.self_attn.q_proj"]},
        {"rank_pattern": {"q_proj": 3, "layers.1.self_attn.v_proj": 1}, "alpha_pattern": {"v_proj": 9}},
        {"modules_to_save": ["lm_head"]},
        {"target_modules": ["v_proj", "gate_proj"], "layers_to_transform": [1], "layers_pattern": "layers"},
    ],
)
def test_an_adapter_of_plain_peft_computes_what_peft_computes(
    changes: dict[str, Any], llava: Path, photographs: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    plain = get_peft_model(
        AutoModelForImageTextToText.from_pretrained(llava), LoraConfig(**{**SUFFIXES, **changes})
    ).eval()
    with torch.no_grad():
        for name, value in plain.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                value.add_(torch.randn_like(value) * 0.2)
    plain.save_pretrained(tmp_path / "final")
    for file in (*llava.glob("tok*"), *llava.glob("proc*")):
        shutil.copy(file, tmp_path / "final")
    made = adapter(llava, lora=LORA)
    made.check_exported(tmp_path / "final")
    encoder, model = made.load_exported(tmp_path / "final", Placement())
    prompt = encoder.encode_prompt(example(photographs))
    with torch.no_grad():
        expected = plain(input_ids=prompt.token_ids[None], pixel_values=prompt.images[0]["pixel_values"]).logits
    torch.testing.assert_close(logits(model, prompt), expected, atol=2e-5, rtol=1e-4)


def test_an_adapter_of_a_wider_model_is_refused(llava: Path, tmp_path: Path) -> None:
    wider = build_llava(tmp_path / "wider", hidden=64)
    adapter(wider, lora=LORA).load(Placement()).export(tmp_path / "final")
    with pytest.raises(DataError, match="28 mismatched tensors"):
        adapter(llava, lora=LORA).check_exported(tmp_path / "final", same_base=True)


def test_an_exported_adapter_names_its_model_by_absolute_path(
    llava: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(llava.parent)
    adapter(Path(llava.name), lora=LORA).load(Placement()).export(tmp_path / "final")
    found = json.loads((tmp_path / "final" / "adapter_config.json").read_text())
    assert found["base_model_name_or_path"] == str(llava)
