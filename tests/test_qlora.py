"""LoRA beside 4-bit weights: what transformers is asked for, and what is refused. Training so needs CUDA."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mdpo_llava import quantized
from mdpo_llava.adapter import Llava
from torch import nn
from transformers import AutoConfig, BitsAndBytesConfig, LlavaForConditionalGeneration
from transformers.quantizers.quantizers_utils import should_convert_module

from mdpo_core import Lora, Placement, RecipeError, load_recipe, run

RECIPE = Path(__file__).parent.parent / "recipes" / "llava_mdpo_qlora.yaml"
HAS_BITSANDBYTES = quantized.is_installed()
ON_CUDA = Placement("cuda:1", "bfloat16")


def qlora(folder: Path) -> Llava:
    return Llava(path=str(folder), lora=Lora(rank=2), quantize="nf4")


def test_weights_are_normal_floats_of_4_bits_with_quantized_scales_and_computed_in_16() -> None:
    config = quantized.loading_options(ON_CUDA)["quantization_config"]
    assert isinstance(config, BitsAndBytesConfig)
    assert config.quantization_method() == "nf4"
    assert config.bnb_4bit_use_double_quant
    assert config.bnb_4bit_compute_dtype == torch.bfloat16
    half = quantized.loading_options(Placement("cuda", "float16"))["quantization_config"]
    assert half.bnb_4bit_compute_dtype == torch.float16


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_they_are_read_to_where_they_stay(device: str) -> None:
    assert quantized.loading_options(Placement(device, "bfloat16"))["device_map"] == {"": torch.device(device)}


def test_all_linear_layers_of_the_language_model_are_quantized_and_none_besides(llava: Path) -> None:
    skipped = quantized.loading_options(ON_CUDA)["quantization_config"].llm_int8_skip_modules
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(AutoConfig.from_pretrained(llava))
    linear = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    assert {name for name in linear if should_convert_module(name, skipped)} == {
        name for name in linear if re.match(r"model\.language_model\.layers\.\d+\.", name)
    }
    assert {name for name in linear if not should_convert_module(name, skipped)} > {"lm_head"}


def test_4_bits_without_lora_are_refused() -> None:
    with pytest.raises(ValueError, match="quantize needs lora: weights of 4 bits do not train"):
        Llava(path="nowhere", quantize="nf4")


@pytest.mark.parametrize("trainable", [True, False])
def test_any_other_device_than_cuda_is_refused_before_anything_is_loaded(trainable: bool) -> None:
    with pytest.raises(RecipeError, match=r"4-bit weights are trained upon on CUDA alone.* on 'cpu'"):
        qlora(Path("nowhere")).load(Placement("cpu", "bfloat16"), trainable=trainable)


@pytest.mark.skipif(HAS_BITSANDBYTES, reason="bitsandbytes is installed")
def test_without_bitsandbytes_the_run_is_refused_with_the_command_that_installs_it(small: list[str]) -> None:
    recipe = load_recipe(RECIPE, small)
    with pytest.raises(RecipeError, match=r'which is not installed\).*pip install "mdpo\[qlora\]"'):
        run(recipe)
    assert not recipe.output.dir.exists()


def test_a_bitsandbytes_that_is_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantized, "is_installed", lambda: False)
    monkeypatch.setattr(quantized, "version", lambda name: "0.40.0")
    with pytest.raises(RecipeError, match=r"needs bitsandbytes [\d.]+ or newer \(0.40.0 is installed\)"):
        quantized.require_bitsandbytes()


def test_what_is_exported_stands_upon_whole_weights(llava: Path) -> None:
    adapter = qlora(llava)
    assert adapter.unquantized == Llava(path=str(llava), lora=Lora(rank=2))
    assert adapter.unquantized.unquantized == adapter.unquantized


def test_a_cached_reference_is_not_shared_between_4_bits_and_16() -> None:
    assert "quantize" not in Llava.only_training


def test_checking_the_recipe_needs_neither_cuda_nor_bitsandbytes() -> None:
    done = subprocess.run([sys.executable, "-m", "mdpo_core.cli", "check", str(RECIPE)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
