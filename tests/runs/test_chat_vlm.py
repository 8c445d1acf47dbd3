"""Whole runs of models that `chat_vlm` reads: pictures of many sizes, in one process and in several."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest
from peft import PeftModel
from support.builders.small_vlms import build_vlm
from support.paths import RECIPES
from support.processes.launching import EVERY, launch, records, require_same_training
from transformers import AutoModelForImageTextToText

from mdpo_core import load_recipe, run

RECIPE = RECIPES / "qwen2_5_vl_mdpo.yaml"
OTHER_FAMILY = pytest.mark.nightly(reason="as one family with M-RoPE and one without, each with one backend")
# Those of one mechanism, whose code differs.
REST = (
    *("llava", "internvl", "idefics2", "idefics3", "smolvlm", "glm4v", "gemma4", "mistral3"),
    *("aya_vision", "ovis2", "deepseek_vl", "video_llama_3"),
    *("llava_next_video", "qwen2_vl", "minicpmv4_6", "glm46v"),
    *("cohere2_vision", "lfm2_vl", "gemma4_unified", "kimi_k25", "phi4_multimodal"),
)
CACHED = ["reference=cached", "scoring.activation_checkpointing=full"]


@pytest.mark.parametrize(
    ("family", "more"),
    [
        ("qwen2_5_vl", []),
        *(
            pytest.param(name, CACHED, marks=OTHER_FAMILY)
            for name in ("qwen3_5", "qwen3_5_moe", "lfm3_vl", "minicpmv4_7")
        ),
    ],
)
def test_the_qwen_recipe_trains_and_its_adapter_loads_in_peft(
    family: str, more: list[str], small: list[str], sizes: list[str], tmp_path: Path
) -> None:
    folder = build_vlm(family, tmp_path / "model")
    done = run(load_recipe(RECIPE, [*small, *sizes, *more, f"model.path={folder}"]))
    first, *_, last = records(done.run_dir)
    # Rows without a picture add nothing to the terms over a corrupted one.
    assert first["loss"] == pytest.approx((2 + 5 / 8) * math.log(2), rel=0.2)
    assert first["loss/text"] == pytest.approx(math.log(2), abs=1e-4)
    assert last["loss"] < first["loss"]
    loaded = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(folder), done.final)
    assert any(bool(value.any()) for name, value in loaded.named_parameters() if "lora_B" in name)


@pytest.mark.long
@pytest.mark.parametrize(
    ("backend", "family"),
    [
        ("fsdp", "qwen2_5_vl"),
        ("zero_3", "llava_next"),
        pytest.param("zero_3", "qwen3_vl", marks=OTHER_FAMILY),
        pytest.param("fsdp", "gemma3", marks=OTHER_FAMILY),
        pytest.param("ddp", "idefics3", marks=OTHER_FAMILY),
        # Their layers with a state are called twice for a packed row, in all processes.
        pytest.param("zero_3", "qwen3_5", marks=OTHER_FAMILY),
        pytest.param("fsdp", "qwen3_5_moe", marks=OTHER_FAMILY),
        pytest.param("zero_3", "lfm3_vl", marks=OTHER_FAMILY),
        pytest.param("zero_3", "minicpmv4_7", marks=OTHER_FAMILY),
        # Their files have experts in other shapes than the model, or one by one.
        pytest.param("zero_3", "qwen3_vl_moe", marks=OTHER_FAMILY),
        pytest.param("zero_3", "glm4v_moe", marks=OTHER_FAMILY),
        pytest.param("zero_3", "qwen3_omni_moe_thinker", marks=OTHER_FAMILY),
        pytest.param("fsdp", "mistral4", marks=OTHER_FAMILY),
        pytest.param("zero_3", "mistral4", marks=OTHER_FAMILY),
        # A row without a picture has no cross-attention.
        pytest.param("zero_3", "mllama", marks=OTHER_FAMILY),
        pytest.param("fsdp", "mllama", marks=OTHER_FAMILY),
        # Its encoder, its projector and its language model are called one by one.
        pytest.param("zero_3", "llama4", marks=OTHER_FAMILY),
        pytest.param("fsdp", "llama4", marks=OTHER_FAMILY),
        # Its files have the weights of several layers in one, and one weight in two halves.
        pytest.param("zero_3", "molmo2", marks=OTHER_FAMILY),
        pytest.param("fsdp", "molmo2", marks=OTHER_FAMILY),
        # Its files name the weights of LoRA for pictures beside those of the model.
        pytest.param("fsdp", "phi4_multimodal", marks=OTHER_FAMILY),
        *(pytest.param("zero_3", name, marks=OTHER_FAMILY) for name in REST),
    ],
)
def test_processes_whose_pictures_differ_train_as_one_does(
    backend: str, family: str, changes: list[str], sizes: list[str], tmp_path: Path
) -> None:
    require_trained_as_alone(
        backend, [*changes, *sizes, f"model.path={build_vlm(family, tmp_path / 'model')}"], tmp_path
    )


@pytest.mark.nightly(reason="as rows of no picture, one and two, of which these families take one")
@pytest.mark.parametrize("family", ["llava_onevision", "paligemma"])
def test_processes_with_one_picture_a_row_train_as_one_does(
    family: str, changes: list[str], sizes: list[str], tmp_path: Path
) -> None:
    folder = Path(sizes[1].partition("=")[2])
    asked = {"prompt": "USER: <image>\nWhat is it? ASSISTANT:", "rejected": "A sea."}
    rows = [{"img_path": [f"{number}.png"], "chosen": f"A {number}.", **asked} for number in range(8)]
    data = tmp_path / "pairs.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = [f"model.path={build_vlm(family, tmp_path / 'model')}", "model.prompts=ready"]
    require_trained_as_alone("zero_3", [*changes, f"data.path={data}", f"data.images={folder}", *model], tmp_path)


def require_trained_as_alone(backend: str, changes: list[str], tmp_path: Path) -> None:
    """Two processes of a backend train as one process does; all parts train."""
    same = [
        *(change for change in changes if not change.startswith(("backend", "model.lora"))),
        *("model.lora=null", "model.freeze=[]"),
        *("train.micro_batch_size=1", "train.learning_rate=1.0e-5"),
    ]
    run(load_recipe(RECIPE, [*same, f"backend={EVERY['ddp']}"]), run_dir=tmp_path / "one")
    finished = launch([*same, f"backend={EVERY[backend]}"], tmp_path / "two", "--processes", "2", recipe=RECIPE)
    assert finished.returncode == 0, finished.stderr
    # A bias of all keys changes no attention: its gradient is 0 but for rounding, of which AdamW makes whole steps.
    require_same_training(tmp_path / "two", tmp_path / "one", 1e-5, but=r"(k_proj|qkv)\.bias")


ANSWERS = """
from mdpo_core import Evaluator, Example, hookimpl


class Answers(Evaluator):
    \"\"\"Answers to questions of which two in four show a picture.\"\"\"

    def evaluate(self, policy, folder, step):
        from PIL import Image

        ramp = Image.linear_gradient("L").convert("RGB").resize((60, 60))
        shown = [Example(str(row), "<image>\\nWhat is it?", {}, (ramp,)) for row in range(2)]
        asked = [*shown, *(Example(str(row), "What is it?", {}) for row in (2, 3))]
        return {"answers": len(policy.generate(asked, 4))}


@hookimpl
def mdpo_components():
    return {"answers": Answers}
"""


@pytest.mark.long
def test_process_without_pictures_in_questions_joins_the_others(
    changes: list[str], sizes: list[str], tmp_path: Path
) -> None:
    """ZeRO-3 gathers the weights of a vision encoder in all processes, or waits forever."""
    (tmp_path / "mdpo_answers.py").write_text(ANSWERS)
    about = tmp_path / "mdpo_answers-0.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mdpo-answers\nVersion: 0.1\n")
    (about / "entry_points.txt").write_text("[mdpo]\nanswers = mdpo_answers\n")
    more = [
        *(change for change in changes if not change.startswith("backend")),
        *(*sizes, f"model.path={build_vlm('qwen2_vl', tmp_path / 'model')}", f"backend={EVERY['zero_3']}"),
        # Questions are shared out in batches of a step's pairs.
        *("train.batch_size=2", "train.micro_batch_size=1", "train.epochs=1", "evaluators=[{evaluator: answers}]"),
    ]
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    finished = launch(more, tmp_path / "two", "--processes", "2", recipe=RECIPE, PYTHONPATH=path)
    assert finished.returncode == 0, finished.stderr
    assert records(tmp_path / "two")[0]["eval/answers/answers"] == 4
