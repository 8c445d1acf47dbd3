"""Adapters of models in the layout of transformers: their options, and their files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from mdpo_core import ALL_LINEAR, DataError, Depth, Dtype, Encoder, ModelAdapter, Part, Parts, Placement, RecipeError
from mdpo_vlm.encoding.unusual_texts import UnusualTextsOption
from mdpo_vlm.families import FAMILIES, Family, family_of
from mdpo_vlm.files.folder import encoder_files, find_folder, model_files, read_json, require_encoder, unfit
from mdpo_vlm.files.known import require_known
from mdpo_vlm.loading.merged import whole_model
from mdpo_vlm.loading.once import max_positions_once, require_fit_once, require_steady_positions, require_targets_once

if TYPE_CHECKING:
    from mdpo_vlm.encoding.encoder import VlmEncoder
    from mdpo_vlm.forward.model import VlmModel
    from mdpo_vlm.loading.load import LoadPlan


class TransformersAdapter(ModelAdapter):
    """A vision-language model of transformers, from a folder or a hub name; the base class of adapters.

    An adapter for another file layout overrides `folder`.
    """

    only_training: ClassVar[frozenset[str]] = ModelAdapter.only_training | {"path", "base", "max_resized_pixels"}

    path: str = Field(
        description="a folder that transformers saved, or a name on the hub; or an adapter of peft, which is merged "
        "into its model once, and is then part of the model before training"
    )
    base: str | None = Field(
        default=None,
        description="if path is an adapter of peft: its model, a folder or a name on the hub; default: the one that "
        "the adapter names",
    )
    prompts: Literal["ready", "chat"] = Field(
        default="ready",
        description="ready: a text prompt is used unchanged; chat: it becomes a user turn in the chat template; "
        "conversations need chat",
    )
    special_tokens: tuple[str, ...] = Field(
        default=(),
        description="special tokens that responses and prompts may contain, such as those around a box; others are "
        "refused, except where they belong to the format of a ready prompt",
    )
    unusual_texts: UnusualTextsOption = Field(
        default="refuse",
        description="rows whose texts are seldom meant: ready-made prompts under chat, bare questions under ready, end "
        "tokens of other models; refuse: they are bad; keep: they are used as they are; {keep: [ready_prompts]} keeps "
        "some of ready_prompts, bare_questions and end_tokens",
    )
    freeze: tuple[Part, ...] = Field(default=("vision",), description=ModelAdapter.model_fields["freeze"].description)
    max_resized_pixels: int = Field(
        default=178_956_970,
        gt=0,
        description="a row is bad if the processor would scale or pad its image to more pixels",
    )
    quantize: Literal["nf4"] | None = Field(
        default=None,
        description="keep the language model's layers in 4 bits, frozen: nf4 (QLoRA, on CUDA only; needs "
        "mdpo[qlora]); the exported adapter belongs to the weights before quantization",
    )
    kernels: Literal["liger"] | None = Field(
        default=None,
        description="kernels of the layers, on CUDA only: liger (norms, SwiGLU or GeGLU, and rotary positions "
        "of liger-kernel; needs mdpo[liger]); absent: those of torch",
    )

    @model_validator(mode="after")
    def _quantized_weights_need_lora(self) -> Self:
        if self.lora is None and self.quantize is not None:
            raise ValueError("quantize needs lora: 4-bit weights do not train")
        return self

    def folder(self) -> Path:
        """The folder with the model in the layout of transformers. Raises `DataError`."""
        return whole_model(find_folder(self.path), self.base, lambda name: self.at(name).folder())

    def family(self) -> Family:
        """The needs of the model's family, from its ``config.json``."""
        return family_of(read_json(self.folder() / "config.json"))

    @property
    def shows_videos(self) -> bool:
        """Whether a video enters by the model's own video input; False: its frames enter as images."""
        return False

    def check(self) -> None:
        self._require_video_input()
        if self.quantize is not None:
            from mdpo_vlm.loading.quantized import require_bitsandbytes

            require_bitsandbytes()
        self.check_files()
        require_steady_positions(self, self.folder())
        if self.kernels is not None:
            from mdpo_vlm.loading.kernels import require_liger

            if self.family().recurrent is not None:
                text = "nobody has tried Liger's kernels with recurrent states; leave kernels out"
                raise RecipeError(f"model.kernels: {text}")
            require_liger(str(read_json(self.folder() / "config.json").get("model_type")))
        self.check_targets()

    def check_targets(self) -> None:
        """Raise `RecipeError` if a LoRA pattern matches no module that can train. Reads no weights."""
        default = self.lora and self.lora.model_copy(update={"targets": (ALL_LINEAR,), "save": ()})
        if self.has_lora and (self.lora != default or self.trains_images):
            require_targets_once(self, self.folder(), self.family())

    def check_files(self) -> None:
        """Raise `DataError` if files of the model are missing or damaged. Loads no model."""
        from mdpo_vlm.files.stored import require_stored

        folder = self.folder()
        require_known(folder / "config.json")
        require_stored(folder)
        require_encoder(folder)

    def _require_video_input(self) -> None:
        """Raise `RecipeError` if the recipe asks for a video input that the model, or mdpo, does not have."""
        if self.shows_videos and self.family().video is None:
            model_type = read_json(self.folder() / "config.json").get("model_type")
            known = ", ".join(sorted(name for name, family in FAMILIES.items() if family.video is not None))
            message = f"mdpo knows no video input of models of type '{model_type}', only of {known}"
            raise RecipeError(f"model.video: own: {message}; set model.video: frames, and each frame is an image")

    def require_model_type(self, *known: str) -> None:
        """Raise `DataError` if the model type in ``config.json`` is not one of ``known``."""
        config = self.folder() / "config.json"
        if (model_type := read_json(config).get("model_type")) not in known:
            name, accepted = type(self).__name__.lower(), " or ".join(map(repr, known))
            raise unfit(config, f"model_type is {model_type!r}; the {name} adapter takes {accepted}")

    def files(self) -> Sequence[Path]:
        folder = self.folder()
        return [*model_files(folder), *encoder_files(folder)]

    @property
    def shares_prefix(self) -> bool:
        from mdpo_vlm.loading.shapes import sliding_window

        family = self.family()
        if family.separate or family.tells_window:
            return not family.separate
        # Packed attention has no sliding window. A window longer than every sequence has no effect.
        window = sliding_window(self.folder())
        return window is None or window >= self.max_length

    @property
    def takes_noise(self) -> bool:
        return True

    @property
    def has_routers(self) -> bool:
        return self.family().experts

    @property
    def refuses_compiling(self) -> str:
        if self.quantize is not None:
            return "layers in 4 bits (model.quantize) have their own kernels, which torch does not compile"
        if self.kernels is not None:
            return "layers with Liger's kernels (model.kernels) are not compiled, as nobody has tried both"
        lora = self.training["language"].lora
        if lora is not None and lora.dora:
            return "torch cannot compile the layers of DoRA (lora.dora)"
        if self.family().recurrent is not None or self.family().tells_window:
            return "layers with a recurrent state or a sliding window are not compiled, as nobody has tried"
        return "" if self.shares_prefix else "this model cannot share a prompt among its responses"

    @property
    def max_positions(self) -> int | None:
        return max_positions_once(self, self.folder())

    def encoder(self) -> VlmEncoder:
        """See `ModelAdapter`. It loads the processor when it encodes, if these files have fitted together before."""
        folder = self.folder()
        encoder = self._encoder(folder)
        require_fit_once(self, folder, self.family(), encoder)
        return encoder

    def _encoder(self, folder: Path) -> VlmEncoder:
        from mdpo_vlm.encoding.encoder import VlmEncoder

        self._require_video_input()
        chat, pixels, special = self.prompts == "chat", self.max_resized_pixels, self.special_tokens
        texts, videos = self.unusual_texts, self.shows_videos
        return VlmEncoder(folder, self.folder(), self.family(), chat, pixels, special, texts, videos)

    def load(self, placement: Placement, *, trainable: bool = True) -> VlmModel:
        from mdpo_vlm.loading.load import load_model

        if self.quantize is not None:
            from mdpo_vlm.loading.quantized import require_cuda

            require_cuda(placement)
        return load_model(self._plan(), placement, trainable=trainable)

    def sketch(self, dtype: Dtype, *, depth: int | None = None, trainable: bool = True) -> VlmModel:
        from mdpo_vlm.loading.load import sketch_model

        return sketch_model(self._plan(), dtype, depth=depth, trainable=trainable)

    @property
    def depth(self) -> Depth:
        from mdpo_vlm.loading.shapes import depth_of

        return depth_of(self.folder())

    def check_exported(self, folder: Path, *, same_base: bool = False) -> None:
        from mdpo_vlm.loading.load import require_exported
        from mdpo_vlm.parts.adapter_folder import is_adapter, require_base

        require_exported(self._plan(), folder)
        if is_adapter(folder) and not same_base:
            require_base(folder, self.folder(), self.path)

    def load_exported(self, folder: Path, placement: Placement) -> tuple[VlmEncoder, VlmModel]:
        from mdpo_vlm.loading.load import load_exported

        encoder = self._encoder(folder)
        encoder.loaded  # noqa: B018  # refuses a folder before its weights are read
        return encoder, load_exported(self._plan(), folder, placement)

    @property
    def lost(self) -> str | None:
        try:
            find_folder(self.path)
        except DataError:
            return self.path
        return None

    def at(self, path: str) -> Self:
        return self.model_copy(update={"path": path, "base": None})

    def in_full(self) -> Self:
        return self.at(self._plan().name)

    def for_exported(self, folder: Path) -> Self:
        from mdpo_vlm.parts.adapter_folder import is_adapter, named_base

        if not is_adapter(folder):
            plain = {"lora": None, "parts": Parts(), "freeze": (), "quantize": None, "kernels": None}
            return self.at(str(folder.absolute())).model_copy(update=plain)
        named = self.at(named_base(folder) or self.path)
        return self if named.lost and not self.lost else named

    def questions(self) -> Callable[[str], Encoder]:
        """The encoder for a question, see `ModelAdapter`; it refuses no unusual text."""
        from mdpo_vlm.encoding.template import has_template
        from mdpo_vlm.encoding.unusual_texts import is_in_a_format, keeps

        asked = self.model_copy(update={"unusual_texts": "keep"})
        ready = asked.model_copy(update={"prompts": "ready"}).encoder()
        was_bare = self.prompts == "ready" and keeps(self.unusual_texts, "bare_questions")
        if was_bare or not has_template(ready.processor):
            return lambda question: ready
        chat = asked.model_copy(update={"prompts": "chat"}).encoder()
        return lambda question: ready if is_in_a_format(question, ready.special_texts) else chat

    def name_base(self, folder: Path, name: str) -> None:
        from mdpo_vlm.parts.adapter_folder import set_named_base

        set_named_base(folder, name)

    def needed_by_exports(self) -> str:
        from mdpo_vlm.encoding.processors import class_that_needs_torchvision

        name = class_that_needs_torchvision(self.folder())
        return name and f'AutoProcessor makes a {name}, which needs torchvision: pip install "mdpo[torchvision]"'

    def _plan(self) -> LoadPlan:
        from mdpo_vlm.loading.load import LoadPlan

        folder = self.folder()
        # The hub's cache is a folder of this machine, and a relative path one of this working directory.
        is_of_hub = folder.parent.name == "snapshots" and not Path(self.path).is_dir()
        name = self.path if is_of_hub else str(folder.absolute())
        return LoadPlan(folder, name, self.family(), self.quantize, self.training, self.encoder, self.kernels)

    @property
    def unquantized(self) -> Self:
        return self.model_copy(update={"quantize": None})

    @property
    def without_kernels(self) -> Self:
        return self.model_copy(update={"kernels": None})
