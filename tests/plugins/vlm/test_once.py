"""A model's files are compared once: not at a second start, and again after every change of what may not fit."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mdpo_vlm.loading import fit, shapes
from safetensors.torch import load_file, save_file
from support.builders.llava_adapter import adapter, example
from support.builders.small_llava import build_llava

from mdpo_core import DataError, RecipeError
from mdpo_core.storage import manifest


@pytest.fixture
def model(llava: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model's folder that may be changed, and a cache in which nothing is remembered."""
    monkeypatch.setenv("MDPO_CACHE", str(tmp_path / "cache"))
    return Path(shutil.copytree(llava, tmp_path / "model"))


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one whenever files are compared, or the model is built without weights."""
    found: list[str] = []
    for module, name in ((fit, "require_fit"), (shapes, "without_weights"), (shapes, "max_positions")):
        monkeypatch.setattr(module, name, counted(getattr(module, name), name, found))
    return found


def counted(function: Callable[..., object], name: str, found: list[str]) -> Callable[..., object]:
    def call(*arguments: object, **options: object) -> object:
        found.append(name)
        return function(*arguments, **options)

    return call


def test_a_second_encoder_compares_nothing_and_encodes_the_same(
    model: Path, compared: list[str], photographs: Path
) -> None:
    first = adapter(model).encoder()
    assert compared == ["require_fit"]
    second = adapter(model).encoder()
    assert compared == ["require_fit"]
    assert "loaded" not in vars(second)
    rows = [encoder.encode_prompt(example(photographs)) for encoder in (first, second)]
    assert torch.equal(rows[0].token_ids, rows[1].token_ids)
    assert all(torch.equal(rows[0].images[0][name], rows[1].images[0][name]) for name in rows[0].images[0])
    assert torch.equal(first.encode_response("A boat."), second.encode_response("A boat."))


def test_the_number_of_positions_is_read_once(model: Path, compared: list[str]) -> None:
    assert [adapter(model).max_positions for _ in range(2)] == [2048] * 2
    assert compared == ["max_positions"]
    change_json("config.json", lambda config: config["text_config"].update(max_position_embeddings=512))(model)
    assert adapter(model).max_positions == 512


def test_patterns_of_lora_are_compared_once(model: Path, compared: list[str]) -> None:
    for _ in range(2):
        adapter(model, lora={"rank": 2, "targets": ["q_proj"]}).check()
    assert compared == ["without_weights"]
    for _ in range(2):
        with pytest.raises(RecipeError, match="no_such"):
            adapter(model, lora={"rank": 2, "targets": ["no_such"]}).check()


def change_json(name: str, change: Callable[[dict[str, dict[str, object]]], object]) -> Callable[[Path], object]:
    def changed(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        change(content)
        (folder / name).write_text(json.dumps(content))

    return changed


def change_weights(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.endswith("embed_tokens.weight"))
    save_file(tensors | {name: tensors[name][:-8].clone()}, folder / "model.safetensors", metadata={"format": "pt"})


def add_config_of_another_processor(folder: Path) -> None:
    other = build_llava(folder.parent / "other", image_size=56)
    for file in other.glob("*processor_config.json"):
        shutil.copy(file, folder)


UNFIT: dict[str, tuple[Callable[[Path], object], str]] = {
    "the vocabulary of the configuration": (
        change_json("config.json", lambda config: config["text_config"].update(vocab_size=99)),
        "they belong to different models",
    ),
    "the weights": (change_weights, "they belong to different models"),
    "the processor": (add_config_of_another_processor, "do the processor's settings"),
    "the tokenizer's end token": (
        change_json("tokenizer_config.json", lambda config: config.update(eos_token="<none>")),
        "the token '<none>' has the id 381",
    ),
    "the tokenizer": (lambda folder: (folder / "tokenizer.json").write_text("{}"), "contains no tokenizer"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_files_that_do_not_fit_any_more_are_refused_at_a_second_start(name: str, model: Path) -> None:
    adapter(model).encoder()
    change, message = UNFIT[name]
    change(model)
    for _ in range(2):
        with pytest.raises(DataError, match=message):
            adapter(model).encoder()


def test_a_new_file_is_compared(model: Path, compared: list[str]) -> None:
    adapter(model, prompts="chat").encoder()
    template = model / "chat_template.jinja"
    template.write_text(template.read_text() + "{% if add_generation_prompt %}<think>{% endif %}")
    with pytest.raises(DataError, match="starts an answer in two different ways"):
        adapter(model, prompts="chat").encoder()
    for _ in range(2):
        (model / "vocab.json").touch()
        adapter(model).encoder()
    assert compared == ["require_fit"] * 4


@pytest.mark.parametrize("library", ["transformers", "torch", "tokenizers", "torchvision", "pillow"])
def test_another_version_compares_again(
    library: str, model: Path, compared: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter(model).encoder()
    version = manifest.version_of
    monkeypatch.setattr(manifest, "version_of", lambda name: "0.0.1" if name == library else version(name))
    adapter(model).encoder()
    assert compared == ["require_fit"] * 2


def test_other_options_are_compared_too(model: Path) -> None:
    adapter(model).encoder()
    with pytest.raises(DataError, match="is not a special token of this model"):
        adapter(model, special_tokens=["<box>"]).encoder()


def test_an_exported_folder_is_refused_at_once(model: Path) -> None:
    (model / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match="contains no tokenizer"):
        adapter(model).load_exported(model, None)  # type: ignore[arg-type]


_START = """
import sys
from mdpo_core import component
adapter = component("adapter", "llava", path=sys.argv[1])
adapter.check()
adapter.encoder(), adapter.max_positions
print("transformers" in sys.modules)
"""


@pytest.mark.long
def test_a_second_start_does_not_load_transformers(model: Path) -> None:
    """It takes two seconds to import what a processor needs."""
    found = [
        subprocess.run([sys.executable, "-c", _START, str(model)], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert [each.split()[-1] for each in found] == ["True", "False"]
