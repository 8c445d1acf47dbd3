"""Checkpoints in the layouts of Bunny and LLaVA, made here: other language models, other files, other sizes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, SiglipVisionConfig, SiglipVisionModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from support.builders.small_llava import build_tokenizer
from support.oracles.upstream import FOLDER

_SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
_TOWER = {**_SIZES, "num_hidden_layers": 3, "hidden_size": 24, "image_size": 28, "patch_size": 14}
_MULTIMODAL = {
    "image_aspect_ratio": "pad",
    "mm_hidden_size": 24,
    "mm_projector_type": "mlp2x_gelu",
    "mm_vision_tower": "google/some-siglip",
    "tie_word_embeddings": False,
}
# By model type: the language model in transformers, and what its published configurations have.
LANGUAGES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "bunny-phi": ("phi", {"partial_rotary_factor": 0.5, "resid_pdrop": 0.1, "rope_theta": 10000.0}),
    "bunny-phi3": ("phi3", {"rope_theta": 10000.0, "num_key_value_heads": 2, "sliding_window": 2047}),
    "bunny-llama": ("llama", {"rope_theta": 500000.0, "num_key_value_heads": 1}),
    "bunny-qwen": ("qwen2", {"rope_theta": 1000000.0, "num_key_value_heads": 2, "use_sliding_window": False}),
    "bunny-qwen2": ("qwen2", {"rope_theta": 1000000.0, "num_key_value_heads": 1, "sliding_window": 1024}),
}


@dataclass(frozen=True)
class Parts:
    """What a checkpoint was made of, to be put together by hand."""

    tower: nn.Module
    projector: nn.Module
    language: nn.Module
    tokenizer: Any

    def logits(self, chunks: tuple[str, str], pixels: Tensor, response: Tensor) -> Tensor:
        """Of a text with one image between two chunks, tokenized apart, and a response behind it."""
        before = self.tokenizer(chunks[0])["input_ids"]
        behind = self.tokenizer(chunks[1], add_special_tokens=False)["input_ids"]
        embed = self.language.get_input_embeddings()
        with torch.no_grad():
            seen = self.projector(self.tower(pixels, output_hidden_states=True).hidden_states[-2])[0]
            parts = [embed(torch.tensor(before)), seen, embed(torch.tensor([*behind, *response.tolist()]))]
            logits: Tensor = self.language(inputs_embeds=torch.cat(parts)[None]).logits
        return logits[0]


def build_bunny(folder: Path, model_type: str, spare: int = 0, **sizes: Any) -> Parts:
    """Write a Bunny of random weights; ``spare``: rows of the vocabulary that the tokenizer does not use."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _save_tokenizer(folder, model_type)
    kind, own = LANGUAGES[model_type]
    special = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": None}
    options = {
        **_SIZES,
        "vocab_size": len(tokenizer) + spare,
        "max_position_embeddings": 4096,
        **own,
        **special,
        **sizes,
    }
    torch.manual_seed(0)
    language = AutoModelForCausalLM.from_config(CONFIG_MAPPING[kind](**options))
    width = language.config.hidden_size
    tower = SiglipVisionModel(SiglipVisionConfig(**_TOWER, vision_use_head=False))
    projector = nn.Sequential(nn.Linear(24, width), nn.GELU(), nn.Linear(width, width))
    for parameter in (value for part in (language, tower, projector) for value in part.parameters()):
        # Logits of some size, and biases and norms that are not at rest.
        parameter.data.mul_(4).add_(torch.randn_like(parameter) * 0.05)
    if language.lm_head.bias is not None:
        language.lm_head.bias.data.zero_()  # Phi has one, Bunny has none
    config = {**_published(language.config.to_dict(), options), **_MULTIMODAL, "model_type": model_type}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vision_config.json").write_text(json.dumps(_TOWER))
    save_file(_tensors(tower, projector, language), folder / "model.safetensors")
    return Parts(tower.eval(), projector, language.eval(), tokenizer)


def _published(config: dict[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """As transformers wrote configurations when these checkpoints were made."""
    return {name: value for name, value in config.items() if name != "rope_parameters"} | dict(options)


def _tensors(tower: nn.Module, projector: nn.Module, language: nn.Module) -> dict[str, Tensor]:
    inside = "model.vision_tower.vision_tower.vision_model."
    return {
        **{f"{inside}{name.removeprefix('vision_model.')}": value for name, value in tower.state_dict().items()},
        **{f"model.mm_projector.{name}": value for name, value in projector.state_dict().items()},
        **{name: value.clone() for name, value in language.state_dict().items() if name != "lm_head.bias"},
    }


def _save_tokenizer(folder: Path, model_type: str) -> Any:
    """Without a token at the beginning, as Phi's and Qwen's; with one, as Llama 3's; of SentencePiece, as Phi-3's."""
    if model_type == "bunny-llama":
        build_tokenizer().save_pretrained(folder)
    else:
        source = FOLDER / ("llava_original_tiny/tokenizer_fast" if model_type == "bunny-phi3" else "bunny_tiny")
        for file in (*source.glob("*tok*"), *source.glob("vocab.json"), *source.glob("merges.txt")):
            shutil.copyfile(file, folder / file.name)
    return AutoTokenizer.from_pretrained(folder)


def copied(folder: Path, source: str = "bunny_tiny") -> Path:
    """A copy of one of upstream's checkpoints, to be changed."""
    return Path(shutil.copytree(FOLDER / source, folder))


def changed_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def changed_weights(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


def as_other_files(folder: Path, pickled: bool, shards: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """Write the weights anew as published ones come; gives them."""
    weights = {name: value.to(dtype) for name, value in load_file(folder / "model.safetensors").items()}
    (folder / "model.safetensors").unlink()
    stem, end = ("pytorch_model", "bin") if pickled else ("model", "safetensors")
    names = sorted(weights)
    files = [f"{stem}.{end}"] if shards == 1 else [f"{stem}-{n + 1:05}-of-{shards:05}.{end}" for n in range(shards)]
    for number, file in enumerate(files):
        shard = {name: weights[name] for name in names[number :: len(files)]}
        if pickled:
            torch.save(shard, folder / file)
        else:
            save_file(shard, folder / file)
    if shards > 1:
        index = {"weight_map": {name: files[place % shards] for place, name in enumerate(names)}}
        (folder / f"{stem}.{end}.index.json").write_text(json.dumps(index))
    return weights
