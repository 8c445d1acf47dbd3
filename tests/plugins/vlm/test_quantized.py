"""LoRA beside 4-bit weights: what transformers is asked for, and what is refused. Training so needs CUDA."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mdpo_llava.adapter import Llava
from mdpo_vlm.loading import quantized
from safetensors.torch import load_file
from support.paths import RECIPES
from torch import nn
from transformers import AutoConfig, BitsAndBytesConfig, LlavaForConditionalGeneration
from transformers.quantizers.quantizers_utils import should_convert_module

from mdpo_core import Lora, Placement, RecipeError, load_recipe, run
from mdpo_core.storage.export import export_run

RECIPE = RECIPES / "llava_mdpo_qlora.yaml"
HAS_BITSANDBYTES = quantized.is_installed()
ON_CUDA = Placement("cuda:1", "bfloat16")


def qlora(folder: Path) -> Llava:
    return Llava(path=str(folder), lora=Lora(rank=2), quantize="nf4")


def test_weights_are_nf4_with_quantized_scales_and_16_bit_math(llava: Path) -> None:
    """Weights are normal floats of 4 bits with quantized scales, and computed in 16 bits."""
    config = quantized.loading_options(llava, ON_CUDA)["quantization_config"]
    assert isinstance(config, BitsAndBytesConfig)
    assert config.quantization_method() == "nf4"
    assert config.bnb_4bit_use_double_quant
    assert config.bnb_4bit_compute_dtype == torch.bfloat16
    half = quantized.loading_options(llava, Placement("cuda", "float16"))["quantization_config"]
    assert half.bnb_4bit_compute_dtype == torch.float16


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_they_are_read_to_where_they_stay(device: str, llava: Path) -> None:
    assert quantized.loading_options(llava, Placement(device, "bfloat16"))["device_map"] == {"": torch.device(device)}


def test_exactly_language_model_linear_layers_are_quantized(llava: Path) -> None:
    """All linear layers of the language model are quantized, and none besides."""
    skipped = quantized.loading_options(llava, ON_CUDA)["quantization_config"].llm_int8_skip_modules
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(AutoConfig.from_pretrained(llava))
    linear = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    assert {name for name in linear if should_convert_module(name, skipped)} == {
        name for name in linear if re.match(r"model\.language_model\.layers\.\d+\.", name)
    }
    assert {name for name in linear if not should_convert_module(name, skipped)} > {"lm_head"}


def test_4_bits_without_lora_are_refused() -> None:
    with pytest.raises(ValueError, match="quantize needs lora: 4-bit weights do not train"):
        Llava(path="nowhere", quantize="nf4")


@pytest.mark.parametrize("trainable", [True, False])
def test_device_other_than_cuda_is_refused_before_loading(trainable: bool) -> None:
    with pytest.raises(RecipeError, match=r"training with 4-bit weights needs CUDA.* on 'cpu'"):
        qlora(Path("nowhere")).load(Placement("cpu", "bfloat16"), trainable=trainable)


@pytest.mark.skipif(HAS_BITSANDBYTES, reason="bitsandbytes is installed")
def test_missing_bitsandbytes_is_refused_with_install_command(small: list[str]) -> None:
    recipe = load_recipe(RECIPE, small)
    with pytest.raises(RecipeError, match=r'which is not installed\).*pip install "mdpo\[qlora\]"'):
        run(recipe)
    assert not recipe.output.dir.exists()


def test_a_bitsandbytes_that_is_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantized, "is_installed", lambda: False)
    monkeypatch.setattr(quantized, "version", lambda name: "0.40.0")
    with pytest.raises(RecipeError, match=r"needs bitsandbytes [\d.]+ or newer \(0.40.0 is installed\)"):
        quantized.require_bitsandbytes()


@pytest.fixture
def anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let bitsandbytes compute where it can: on a CPU, too, if slowly."""
    if not HAS_BITSANDBYTES:
        pytest.skip("bitsandbytes is not installed")
    if not torch.cuda.is_available():
        monkeypatch.setattr(quantized, "require_cuda", lambda placement: None)


def test_4_bit_layers_get_peft_adapters_and_all_else_stays(llava: Path, anywhere: None) -> None:
    from bitsandbytes.nn import Linear4bit
    from peft.tuners.lora.bnb import Linear4bit as LoraLinear4bit

    device = "cuda" if torch.cuda.is_available() else "cpu"
    module = qlora(llava).load(Placement(device, "bfloat16")).module
    inside = "base_model.model.model.language_model.layers."
    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, LoraLinear4bit)}
    assert len(layers) == 14
    assert all(name.startswith(inside) and isinstance(layer.base_layer, Linear4bit) for name, layer in layers.items())
    of_4_bits = {name for name, value in module.named_parameters() if value.dtype == torch.uint8}
    assert of_4_bits == {f"{name}.base_layer.weight" for name in layers}
    assert {value.dtype for value in module.parameters() if value.requires_grad} == {torch.float32}


def test_4_bit_run_begins_at_3_log_2_learns_and_exports(
    changes: list[str], llava: Path, tmp_path: Path, anywhere: None
) -> None:
    """A run upon 4 bits begins at three times log 2, learns, and is exported upon whole weights."""
    precision = ["backend.precision=bf16", "trackers=[]", "output.save_every=3", f"output.dir={tmp_path / 'run'}"]
    folder = run(load_recipe(RECIPE, [*changes, *precision])).run_dir
    losses = [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert losses[0] == pytest.approx(3 * math.log(2), abs=1e-2)
    assert losses[-1] < losses[0]
    for merge in (False, True):
        export_run(folder, tmp_path / str(merge), merge=merge)
    before, after = (load_file(place / "model.safetensors") for place in (llava, tmp_path / "True"))
    assert {name: value.shape for name, value in after.items()} == {name: value.shape for name, value in before.items()}
    assert {value.dtype for value in after.values()} == {torch.bfloat16}


def test_what_is_exported_stands_upon_whole_weights(llava: Path) -> None:
    adapter = qlora(llava)
    assert adapter.unquantized == Llava(path=str(llava), lora=Lora(rank=2))
    assert adapter.unquantized.unquantized == adapter.unquantized


def test_a_cached_reference_is_not_shared_between_4_bits_and_16() -> None:
    assert "quantize" not in Llava.only_training


def test_checking_the_recipe_needs_neither_cuda_nor_bitsandbytes() -> None:
    done = subprocess.run([sys.executable, "-m", "mdpo_core.cli", "check", str(RECIPE)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
