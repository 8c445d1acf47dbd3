"""Model folders whose files contradict each other, or hide others: refused by name, or loaded as they were digested."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.builders.llava_adapter import adapter, example, logits

from mdpo_core import DataError, Placement

Change = Callable[[Path], object]
INDEX = "model.safetensors.index.json"


def copied(llava: Path, folder: Path, change: Change) -> Path:
    shutil.copytree(llava, folder)
    change(folder)
    return folder


def refusal(folder: Path, prompts: str = "ready") -> str:
    """The error of a folder, before its weights are read."""
    with pytest.raises(DataError) as caught:
        check(folder, prompts)
    assert str(folder) in str(caught.value)
    return str(caught.value)


def check(folder: Path, prompts: str) -> None:
    made = adapter(folder, prompts=prompts)
    made.check()
    made.encoder()


def loaded_logits(folder: Path, photographs: Path) -> torch.Tensor:
    made = adapter(folder)
    made.check()
    prompt = made.encoder().encode_prompt(example(photographs))
    return logits(made.load(Placement()), prompt)


def split(folder: Path) -> None:
    """The weights in two shards with an index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    places = {name: f"{number % 2}.safetensors" for number, name in enumerate(sorted(tensors))}
    for file in set(places.values()):
        part = {name: tensors[name] for name in tensors if places[name] == file}
        save_file(part, folder / file, metadata={"format": "pt"})
    write_index(folder, places)


def write_index(folder: Path, places: dict[str, str]) -> None:
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))


def change_index(change: Callable[[dict[str, str]], dict[str, str]]) -> Change:
    def changed(folder: Path) -> None:
        split(folder)
        write_index(folder, change(json.loads((folder / INDEX).read_text())["weight_map"]))

    return changed


def shards_beside_another_model(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    split(folder)
    (folder / "model.safetensors").write_bytes(whole)


def with_the_same_tensor_twice(folder: Path) -> None:
    split(folder)
    first = next(iter(load_file(folder / "0.safetensors")))
    second = load_file(folder / "1.safetensors")
    save_file({**second, first: load_file(folder / "0.safetensors")[first]}, folder / "1.safetensors")


def as_pipe(name: str) -> Change:
    def changed(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shards_beside_another_model, f"contains model.safetensors and {INDEX}, which names other files; remove one"),
        (
            change_index(lambda map_: dict.fromkeys(map_, "../0.safetensors")),
            "names '../0.safetensors', which is not a",
        ),
        (
            change_index(lambda map_: dict.fromkeys(map_, "/tmp/0.safetensors")),
            "names '/tmp/0.safetensors', which is n",
        ),
        (change_index(lambda map_: dict.fromkeys(map_, "0.bin")), "names '0.bin', which is not a .safetensors file"),
        (change_index(lambda map_: {**map_, "a.weight": "0.safetensors"}), "a.weight: none of its files contains it"),
        (change_index(lambda map_: dict(list(map_.items())[1:])), "but the index does not list it"),
        (with_the_same_tensor_twice, "which 0.safetensors contains, too"),
        (as_pipe("config.json"), "config.json: is not a file, or a link to nothing"),
        (as_pipe("model.safetensors"), "model.safetensors: is not a file, or a link to nothing"),
    ],
)
def test_weights_that_programs_load_differently_are_refused(
    change: Change, message: str, llava: Path, tmp_path: Path
) -> None:
    assert message in refusal(copied(llava, tmp_path / "model", change))


def test_shards_give_the_model_that_one_file_gives(llava: Path, photographs: Path, tmp_path: Path) -> None:
    folder = copied(llava, tmp_path / "model", split)
    assert torch.equal(loaded_logits(folder, photographs), loaded_logits(llava, photographs))
    assert {file.name for file in adapter(folder).files()} >= {"0.safetensors", "1.safetensors", INDEX}


def test_an_adapter_beside_the_weights_is_not_put_on(llava: Path, photographs: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = adapter(llava, lora={"rank": 2, "alpha": 4, "dropout": 0.0}).load(Placement())
    with torch.no_grad():
        for name, value in model.module.named_parameters():
            if "lora_B" in name:
                value.normal_(std=0.2)
    model.export(tmp_path / "final")

    def beside(folder: Path) -> None:
        for file in (tmp_path / "final").glob("adapter_*"):
            shutil.copy(file, folder)

    folder = copied(llava, tmp_path / "model", beside)
    assert torch.equal(loaded_logits(folder, photographs), loaded_logits(llava, photographs))
