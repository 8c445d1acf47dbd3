"""Whole runs of models that `chat_vlm` reads: pictures of many sizes, in one process and in several."""

from __future__ import annotations

import json
import math
from pathlib import Path

import PIL.Image
import pytest
from launched import launch, records, require_same_training
from peft import PeftModel
from small_vlms import build_vlm
from test_processes import EVERY
from transformers import AutoModelForImageTextToText

from mdpo_core import load_recipe, run

RECIPE = Path(__file__).parent.parent / "recipes" / "qwen2_5_vl_mdpo.yaml"
SIZES = [(90, 62), (40, 77), (64, 64), (30, 90), (120, 40), (50, 50), (77, 40), (62, 90)]


@pytest.fixture(scope="module")
def sizes(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Changes to eight pairs whose pictures all differ in size; every third row has none, one has two."""
    folder = tmp_path_factory.mktemp("sizes")
    picture = PIL.Image.open(sorted(photographs.iterdir())[0]).convert("RGB")
    rows = []
    for number, size in enumerate(SIZES):
        picture.resize(size).save(folder / f"{number}.png")
        images = [] if number % 3 == 2 else [f"{number}.png", "0.png"] if number == 4 else [f"{number}.png"]
        content = [*({"type": "image"} for _ in images), {"type": "text", "text": "What is it?"}]
        messages = {"chosen": f"A temple, {number}.", "rejected": "A flower " * (1 + number % 3)}
        rows.append({"img_path": images, "prompt": [{"role": "user", "content": content}], **messages})
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [f"data.path={folder / 'pairs.jsonl'}", f"data.images={folder}"]


def test_the_qwen_recipe_trains_and_its_adapter_loads_in_peft(
    small: list[str], sizes: list[str], tmp_path: Path
) -> None:
    folder = build_vlm("qwen2_5_vl", tmp_path / "model")
    done = run(load_recipe(RECIPE, [*small, *sizes, f"model.path={folder}"]))
    first, *_, last = records(done.run_dir)
    # Rows without a picture add nothing to the terms over a corrupted one.
    assert first["loss"] == pytest.approx((2 + 5 / 8) * math.log(2), rel=0.2)
    assert first["loss/0:dpo"] == pytest.approx(math.log(2), abs=1e-4)
    assert last["loss"] < first["loss"]
    loaded = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(folder), done.final)
    assert any(bool(value.any()) for name, value in loaded.named_parameters() if "lora_B" in name)


@pytest.mark.long
@pytest.mark.parametrize(
    ("backend", "family"),
    [("fsdp", "qwen2_5_vl"), ("zero_3", "llava_next"), ("zero_3", "qwen3_vl"), ("fsdp", "gemma3"), ("ddp", "idefics3")],
)
def test_processes_whose_pictures_differ_train_as_one_does(
    backend: str, family: str, changes: list[str], sizes: list[str], tmp_path: Path
) -> None:
    folder = build_vlm(family, tmp_path / "model")
    same = [
        *(change for change in changes if not change.startswith(("backend", "model.lora"))),
        *(*sizes, f"model.path={folder}", "model.lora=null", "model.freeze=[]"),
        *("train.micro_batch_size=1", "train.learning_rate=1.0e-5"),
    ]
    run(load_recipe(RECIPE, [*same, f"backend={EVERY['ddp']}"]), run_dir=tmp_path / "one")
    finished = launch([*same, f"backend={EVERY[backend]}"], tmp_path / "two", "--processes", "2", recipe=RECIPE)
    assert finished.returncode == 0, finished.stderr
    # A bias of all keys changes no attention: its gradient is 0 but for rounding, of which AdamW makes whole steps.
    require_same_training(tmp_path / "two", tmp_path / "one", 1e-5, but=r"(k_proj|qkv)\.bias")
