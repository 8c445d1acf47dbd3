"""The `llava` adapter: its options, and the model's files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from mdpo_core import DataError, ModelAdapter, Part, Placement, Problem

if TYPE_CHECKING:
    from mdpo_llava.encoder import LlavaEncoder
    from mdpo_llava.model import LlavaModel

PARTS: tuple[Part, ...] = ("vision", "projector", "language")
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
# What an encoder is made of; which of these there are depends on the tokenizer and on the version that saved them.
_ENCODER = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "processor_config.json",
    "preprocessor_config.json",
    "chat_template.jinja",
    "chat_template.json",
)


class Llava(ModelAdapter):
    """A `LlavaForConditionalGeneration`: LLaVA-1.5 and models of its shape, from a folder or a hub name."""

    only_training: ClassVar[frozenset[str]] = ModelAdapter.only_training | {"path", "freeze"}

    path: str = Field(description="a folder that transformers saved, or a name on the hub")
    prompts: Literal["ready", "chat"] = Field(
        default="ready", description="prompts are used as they stand, or become a user's turn of the chat template"
    )
    freeze: tuple[Part, ...] = Field(
        default=("vision",), description="parts that do not train: vision, projector, language; without LoRA only"
    )

    quantize: Literal["nf4"] | None = Field(
        default=None,
        description="hold the language model's layers in 4 bits, which do not train: nf4 (QLoRA, on CUDA only; needs "
        "mdpo[qlora]); what is exported belongs to the weights as they were before",
    )

    @model_validator(mode="after")
    def _something_trains(self) -> Self:
        if self.lora is None and self.quantize is not None:
            raise ValueError("quantize needs lora: weights of 4 bits do not train")
        if self.lora is None and set(self.freeze) == set(PARTS):
            raise ValueError("freeze names every part, so nothing would train")
        return self

    def check(self) -> None:
        if self.quantize is not None:
            from mdpo_llava.quantized import require_bitsandbytes

            require_bitsandbytes()
        folder = self._folder()
        config = _read_json(folder / "config.json")
        kind = config.get("model_type")
        if kind != "llava":
            raise _unfit(folder / "config.json", f"model_type is {kind!r}; the llava adapter takes 'llava'")
        if not any((folder / name).is_file() for name in _WEIGHTS):
            raise _unfit(folder, f"no weights: neither {_WEIGHTS[0]} nor {_WEIGHTS[1]} is there")
        for file in self.files():
            if not file.is_file():
                raise _unfit(file, f"missing, although {_WEIGHTS[1]} names it")
        for name in ("tokenizer_config.json", "processor_config.json", "preprocessor_config.json"):
            if (folder / name).is_file():
                continue
            # One of the two holds the image processor, depending on the version that saved it.
            if name != "tokenizer_config.json" and any(folder.glob("*processor_config.json")):
                continue
            raise _unfit(folder, f"{name} is missing; save the processor beside the model")

    def files(self) -> Sequence[Path]:
        folder = self._folder()
        index = folder / _WEIGHTS[1]
        shards = sorted(set(_read_json(index)["weight_map"].values())) if index.is_file() else [_WEIGHTS[0]]
        encoder = [folder / name for name in _ENCODER if (folder / name).is_file()]
        return [folder / "config.json", *(folder / shard for shard in shards), *encoder]

    @property
    def shares_prefix(self) -> bool:
        from transformers import AutoConfig

        text = AutoConfig.from_pretrained(self._folder(), trust_remote_code=False).get_text_config()
        # Packed attention knows no sliding window; one that no sequence leaves is none.
        window = getattr(text, "sliding_window", None)
        return window is None or window >= self.max_length

    def encoder(self) -> LlavaEncoder:
        from mdpo_llava.encoder import LlavaEncoder

        return LlavaEncoder(self._folder(), chat=self.prompts == "chat")

    def load(self, placement: Placement, *, trainable: bool = True) -> LlavaModel:
        from mdpo_llava.model import load_model

        if self.quantize is not None:
            from mdpo_llava.quantized import require_cuda

            require_cuda(placement)
        return load_model(self, self._folder(), placement, trainable)

    def load_exported(self, folder: Path, placement: Placement) -> tuple[LlavaEncoder, LlavaModel]:
        from mdpo_llava.encoder import LlavaEncoder
        from mdpo_llava.model import load_exported

        return LlavaEncoder(folder, chat=self.prompts == "chat"), load_exported(self._folder(), folder, placement)

    @property
    def unquantized(self) -> Llava:
        return self.model_copy(update={"quantize": None})

    def _folder(self) -> Path:
        path = Path(self.path)
        if path.is_dir():
            return path
        if self.path.count("/") == 1 and not self.path.startswith((".", "/", "~")) and not path.parent.is_dir():
            return _from_hub(self.path)
        there = next((parent for parent in path.parents if parent.is_dir()), Path())
        raise _unfit(path, f"no such folder (the nearest one there is: {there})")


def _from_hub(name: str) -> Path:
    """The local copy of a model on the hub, downloaded if it is not there yet."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.model", "*.jinja", "*.txt"]))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise _unfit(Path(name), f"no such folder, and not to be had from the hub ({reason}); give a folder") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error}"
        raise _unfit(path, f"{reason}; a LLaVA folder holds it") from error
    return dict(content)


def _unfit(path: Path, message: str) -> DataError:
    return DataError([Problem(str(path), "", message)])
