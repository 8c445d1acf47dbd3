"""The llava adapter against plain transformers and peft."""

from __future__ import annotations

import json
import logging
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from support.builders.llava_adapter import adapter, example, logits
from support.builders.small_llava import build_llava
from support.pairs import PROMPT
from transformers import AutoModelForImageTextToText, AutoProcessor, LlavaForConditionalGeneration

from mdpo_core import DataError, Decoding, Example, Placement, component
from mdpo_core.testing import check_adapter

LORA = {"rank": 4, "alpha": 8, "dropout": 0.5}


def trained(folder: Path, **options: Any) -> Any:
    """A model whose adapters are not zero."""
    torch.manual_seed(0)
    model = adapter(folder, **options).load(Placement())
    with torch.no_grad():
        for name, value in model.module.named_parameters():
            if "lora_B" in name:
                value.normal_(std=0.2)
    return model


@pytest.mark.parametrize("num_images", [0, 1, 2])
def test_logits_are_those_of_plain_transformers(num_images: int, llava: Path, photographs: Path) -> None:
    row = example(photographs, num_images)
    processor = AutoProcessor.from_pretrained(llava, backend="pil")
    inputs = processor(images=list(row.images) or None, text=row.prompt, return_tensors="pt")
    with torch.no_grad():
        plain = AutoModelForImageTextToText.from_pretrained(llava)(**inputs).logits
    prompt = adapter(llava).encoder().encode_prompt(row)
    assert prompt.token_ids.tolist() == inputs["input_ids"][0].tolist()
    torch.testing.assert_close(logits(adapter(llava).load(Placement()), prompt), plain, atol=1e-6, rtol=0)


def test_lora_logits_equal_peft_and_disabling_restores_the_base(llava: Path, photographs: Path) -> None:
    prompt = adapter(llava).encoder().encode_prompt(example(photographs))
    model, base = trained(llava, lora=LORA), adapter(llava).load(Placement())
    with torch.no_grad():
        plain = model.module(input_ids=prompt.token_ids[None], **prompt.images[0]).logits
    torch.testing.assert_close(logits(model, prompt), plain, atol=1e-6, rtol=0)
    assert not torch.equal(logits(model, prompt), logits(base, prompt))
    with model.adapter_disabled():
        assert torch.equal(logits(model, prompt), logits(base, prompt))
    with pytest.raises(ValueError, match="there is no adapter to turn off"), base.adapter_disabled():
        pass


def test_only_the_adapters_drop_out_and_only_in_training(llava: Path, photographs: Path) -> None:
    model = trained(llava, lora=LORA)
    prompt = adapter(llava).encoder().encode_prompt(example(photographs))
    assert torch.equal(logits(model, prompt), logits(model, prompt))
    model.set_training(True)
    assert not torch.equal(logits(model, prompt), logits(model, prompt))
    training = {name for name, module in model.module.named_modules() if module.training}
    assert training
    assert all("lora_dropout" in name for name in training)


@pytest.mark.parametrize(
    ("freeze", "trains"), [(("vision",), {"projector", "language"}), ((), {"vision", "projector", "language"})]
)
def test_the_parts_that_are_not_frozen_train(freeze: tuple[str, ...], trains: set[str], llava: Path) -> None:
    model = adapter(llava, freeze=freeze).load(Placement())
    parameters = dict(model.module.named_parameters())
    parts = model.parts()
    assert sorted(name for names in parts.values() for name in names) == sorted(parameters)
    assert {part for part, names in parts.items() if any(parameters[name].requires_grad for name in names)} == trains
    frozen = adapter(llava).load(Placement(), trainable=False)
    assert not any(value.requires_grad for value in frozen.module.parameters())


@pytest.mark.parametrize(("layer", "strategy"), [(-2, "default"), (-1, "full"), ([-2], "default")])
def test_of_the_vision_tower_trains_what_features_depend_on(
    layer: int | list[int], strategy: str, tmp_path: Path
) -> None:
    folder = build_llava(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config |= {"vision_feature_layer": layer, "vision_feature_select_strategy": strategy}
    (folder / "config.json").write_text(json.dumps(config))
    base = LlavaForConditionalGeneration.from_pretrained(folder)
    base.get_image_features(torch.ones(1, 3, 28, 28)).pooler_output[0].sum().backward()
    used = {name for name, value in base.model.vision_tower.named_parameters() if value.grad is not None}
    tower = adapter(folder, freeze=()).load(Placement())._base.model.vision_tower
    assert {name for name, value in tower.named_parameters() if value.requires_grad} == used
    assert any("layers.1" in name for name in used) == (layer == -1)


def test_generation_equals_transformers_for_each_prompt_alone(llava: Path, photographs: Path) -> None:
    encoder, model = adapter(llava).encoder(), adapter(llava).load(Placement())
    rows = [example(photographs, number) for number in (1, 0, 2)]
    made = model.generate([encoder.encode_prompt(row) for row in rows], Decoding(12))
    processor = AutoProcessor.from_pretrained(llava, backend="pil")
    plain = AutoModelForImageTextToText.from_pretrained(llava)
    made += model.generate([encoder.encode_prompt(rows[1])], Decoding(12))
    for row, ids in zip([*rows, rows[1]], made, strict=True):
        inputs = processor(images=list(row.images) or None, text=row.prompt, return_tensors="pt")
        alone = plain.generate(**inputs, max_new_tokens=12, do_sample=False)[0, inputs["input_ids"].shape[1] :]
        expected = alone.tolist()
        assert ids.tolist() == (expected[: expected.index(2)] if 2 in expected else expected)


def test_chat_prompts_go_through_the_template(llava: Path, photographs: Path) -> None:
    row = example(photographs)
    chat = Example("1", "<image>\nWhat is it?", row.responses, row.images)
    ready, made = (
        adapter(llava, prompts=kind).encoder().encode_prompt(each).token_ids.tolist()
        for kind, each in (("ready", row), ("chat", chat))
    )
    assert made == ready


def test_what_is_exported_loads_and_scores_the_same(llava: Path, photographs: Path, tmp_path: Path) -> None:
    prompt = adapter(llava).encoder().encode_prompt(example(photographs))
    lora, whole = trained(llava, lora=LORA), adapter(llava).load(Placement())
    with torch.no_grad():
        whole.module.lm_head.weight.add_(0.1)
    loaders: dict[str, Callable[[Path], Any]] = {
        "lora": lambda folder: PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(llava), folder),
        "whole": AutoModelForImageTextToText.from_pretrained,
    }
    for (name, load), model in zip(loaders.items(), (lora, whole), strict=True):
        before = logits(model, prompt)
        model.export(tmp_path / name)
        assert torch.equal(logits(model, prompt), before)
        with torch.no_grad():
            after = load(tmp_path / name)(input_ids=prompt.token_ids[None], **prompt.images[0]).logits
        torch.testing.assert_close(after, before, atol=1e-6, rtol=0)
        assert AutoProcessor.from_pretrained(tmp_path / name, backend="pil").image_token == "<image>"


@pytest.mark.long
def test_exports_of_two_processes_are_the_same_bytes(llava: Path, tmp_path: Path) -> None:
    program = (
        "import sys, torch; from pathlib import Path; from mdpo_core import component, Placement\n"
        "torch.manual_seed(0)\n"
        f"a = component('adapter', 'llava', path={str(llava)!r}, lora={LORA!r})\n"
        "a.load(Placement()).export(Path(sys.argv[1]))"
    )
    for seed in ("1", "2"):
        words = [sys.executable, "-c", program, str(tmp_path / seed)]
        subprocess.run(words, check=True, capture_output=True, env={"PYTHONHASHSEED": seed, "HF_HUB_OFFLINE": "1"})
    one, other = ({file.name: file.read_bytes() for file in (tmp_path / seed).iterdir()} for seed in ("1", "2"))
    assert one == other


def test_336_pixels_give_576_image_tokens(tmp_path: Path, photographs: Path) -> None:
    from support.builders.small_llava import build_llava

    prompt = adapter(build_llava(tmp_path, image_size=336)).encoder().encode_prompt(example(photographs))
    assert int((prompt.token_ids == 3).sum()) == 576
    assert prompt.images[0]["pixel_values"].shape == (1, 3, 336, 336)


def test_the_encoder_travels_to_another_process(llava: Path, photographs: Path) -> None:
    encoder = adapter(llava).encoder()
    again = pickle.loads(pickle.dumps(encoder)).encode_prompt(example(photographs))
    assert torch.equal(again.token_ids, encoder.encode_prompt(example(photographs)).token_ids)


def damaged(folder: Path, llava: Path, change: Callable[[Path], object]) -> str:
    shutil.copytree(llava, folder)
    change(folder)
    with pytest.raises(DataError) as caught:
        _check_and_load(folder)
    return str(caught.value)


def _check_and_load(folder: Path) -> None:
    made = adapter(folder, prompts="chat")
    made.check()
    made.encoder()
    made.load(Placement())


def as_other_model(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "qwen2_vl"}))


PROJECTOR = "multi_modal_projector.linear_1"


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], object]:
    def changed(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return changed


def without_the_first_layer(tensors: dict[str, torch.Tensor]) -> None:
    for name in [name for name in tensors if "language_model.model.layers.0." in name]:
        del tensors[name]


def of_another_model(tensors: dict[str, torch.Tensor]) -> None:
    tensors["strange.weight"] = tensors.pop(f"{PROJECTOR}.weight")
    tensors[f"{PROJECTOR}.bias"] = torch.zeros(3)


def holding(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


def with_an_unknown_image_processor(folder: Path) -> None:
    file = folder / "processor_config.json"
    options = json.loads(file.read_text())
    options["image_processor"]["image_processor_type"] = "Unknown"
    file.write_text(json.dumps(options))


INDEX = "model.safetensors.index.json"
NO_MAP = f"{INDEX}: weight_map must name the file of every tensor; download it again"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (as_other_model, "model_type is 'qwen2_vl'; the llava adapter takes 'llava'"),
        (lambda folder: (folder / "config.json").unlink(), "config.json: is missing; a model's folder needs it"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no weights: neither model.safetensors nor"),
        (holding(INDEX, '{"weight_map": {"a": "absent.safetensors"}}'), "absent.safetensors: missing"),
        (holding(INDEX, "{}"), NO_MAP),
        (holding(INDEX, '{"weight_map": ["absent.safetensors"]}'), NO_MAP),
        (holding(INDEX, '{"weight_map": {"a": 1}}'), NO_MAP),
        (lambda folder: (folder / "tokenizer_config.json").unlink(), "tokenizer_config.json is missing"),
        (lambda folder: (folder / "processor_config.json").unlink(), "processor_config.json is missing"),
        (holding("processor_config.json", "{}"), "processor_config.json: contains no image processor, and"),
        (holding("processor_config.json", "{"), "processor_config.json: cannot be read: Expecting property name"),
        (with_an_unknown_image_processor, "its processor cannot be loaded (ValueError: Unrecognized image processor"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer: none of tokenizer.json, tokenizer.model"),
        (holding("tokenizer.json", '{"a": 1}'), "tokenizer.json: contains no tokenizer; download it again"),
        (holding("tokenizer.json", '{"added_tokens": [], "model": {}}'), "(Exception: data did not match any variant"),
        (holding("tokenizer_config.json", "[]"), "tokenizer_config.json: is not a JSON object; download it again"),
        (holding("chat_template.jinja", "{% for x in %}"), "template fails on a question with an answer (TemplateSynt"),
        (
            holding("chat_template.jinja", "{{ messages[0].foo.bar }}"),
            "'foo'); download it again, or set model.prompts",
        ),
        (holding("chat_template.jinja", "{{ messages + 1 }}"), "its chat template fails on a question with an answer"),
        (weights(without_the_first_layer), " and 6 more; the weights are incomplete or of another model: download"),
        (
            weights(of_another_model),
            f"1 missing tensors: model.{PROJECTOR}.weight; 1 unexpected tensors: strange.weight; "
            f"1 mismatched tensors: model.{PROJECTOR}.bias (3,) for (32,); the weights are incomplete",
        ),
    ],
)
def test_an_unfit_folder_is_named_with_what_is_missing(
    change: Callable[[Path], object], message: str, llava: Path, tmp_path: Path
) -> None:
    found = damaged(tmp_path / "model", llava, change)
    assert message in found
    assert len(found.splitlines()) == 1


def test_transformers_report_is_hidden_only_while_a_model_loads(
    llava: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    folder = tmp_path / "model"
    damaged(folder, llava, weights(of_another_model))
    assert not caplog.records
    AutoModelForImageTextToText.from_pretrained(folder, ignore_mismatched_sizes=True)
    assert "LOAD REPORT" in caplog.text


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the folder does not exist \(the nearest folder that exists"):
        adapter(tmp_path / "nowhere" / "model").check()
    with pytest.raises(DataError, match="paths begin where the command runs"):
        adapter(Path("nowhere/in/here")).check()
    (tmp_path / "pairs.jsonl").touch()
    with pytest.raises(DataError, match=r"pairs\.jsonl: is a file; give the folder of a model"):
        adapter(tmp_path / "pairs.jsonl").check()
    with pytest.raises(DataError, match=r"the hub could not be reached.*use a folder"):
        component("adapter", "llava", path="nobody/nothing").check()  # type: ignore[attr-defined]


@pytest.mark.long
def test_the_contract_of_adapters_holds(llava: Path, photographs: Path) -> None:
    rows = [example(photographs), Example("2", PROMPT.replace("<image>\n", ""), {"chosen": "A", "rejected": "B c"})]
    check_adapter(adapter(llava, lora=LORA), rows)
    check_adapter(adapter(llava), rows)
