"""Adapters of models in the layout of transformers, and the files of these models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from mdpo_core import ALL_LINEAR, DataError, Depth, Dtype, Encoder, Parts, Placement, RecipeError
from mdpo_vlm.families import FAMILIES, Family, family_of
from mdpo_vlm.files.folder import (
    encoder_files,
    find_folder,
    full_name,
    model_files,
    read_json,
    require_encoder,
    unfit,
)
from mdpo_vlm.files.known import require_known
from mdpo_vlm.loading.merged import (
    adapter_files,
    adapter_folder,
    base_folder,
    base_name,
    encoder_folder,
    is_peft_folder,
    whole_model,
)
from mdpo_vlm.loading.once import (
    max_positions_once,
    require_continued_once,
    require_fit_once,
    require_steady_positions,
    require_targets_once,
)
from mdpo_vlm.options import TransformersOptions

if TYPE_CHECKING:
    from mdpo_vlm.encoding.encoder import VlmEncoder
    from mdpo_vlm.forward.model import VlmModel
    from mdpo_vlm.loading.load import LoadPlan


class TransformersAdapter(TransformersOptions):
    """A vision-language model of transformers, from a folder or a hub name; the base class of adapters.

    An adapter for another file layout overrides `folder`.
    """

    def folder(self) -> Path:
        """The folder with the model in the layout of transformers. Raises `DataError`."""
        if self.continued is not None:
            return self._whole_at(str(base_folder(self.continued, self.base))).folder()
        return whole_model(find_folder(self.path), self.base, lambda name: self._whole_at(name).folder())

    @property
    def continued(self) -> Path | None:
        """The folder of the adapter that is trained on, if one is. Raises `DataError`."""
        return adapter_folder(find_folder(self.path)) if self.continue_lora else None

    def _encoder_folder(self) -> Path:
        """The folder with the files of tokenizer and processor: those that were saved with the adapter come first."""
        folder = self.folder()
        return folder if self.continued is None else encoder_folder(self.continued, folder)

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
        if self.continued is not None:
            require_continued_once(self, self.folder(), self.family(), self.continued)

    def check_files(self) -> None:
        """Raise `DataError` if files of the model are missing or damaged. Loads no model."""
        from mdpo_vlm.files.stored import require_stored

        folder = self.folder()
        require_known(folder / "config.json")
        if self.continued is not None:
            adapter_files(self.continued)
        require_stored(folder)
        require_encoder(self._encoder_folder())

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
        of_lora = [] if self.continued is None else adapter_files(self.continued)
        return [*model_files(self.folder()), *encoder_files(self._encoder_folder()), *of_lora]

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
        if self.family().projects_itself:
            return "layers that differ in how they attend (those of Llama 4) are not compiled, as nobody has tried"
        return "" if self.shares_prefix else "this model cannot share a prompt among its responses"

    @property
    def max_positions(self) -> int | None:
        return max_positions_once(self, self.folder())

    def encoder(self) -> VlmEncoder:
        """See `ModelAdapter`. It loads the processor when it encodes, if these files have fitted together before."""
        return self._fitting_encoder(self._encoder_folder(), self.folder())

    def _fitting_encoder(self, folder: Path, model: Path) -> VlmEncoder:
        encoder = self._encoder(folder)
        require_fit_once(self, model, self.family(), encoder, folder)
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
            require_base(folder, self.folder(), self._path_of_whole)

    def load_exported(self, folder: Path, placement: Placement) -> tuple[VlmEncoder, VlmModel]:
        from mdpo_vlm.loading.load import load_exported

        # It refuses a folder before its weights are read.
        encoder = self._fitting_encoder(folder, self.folder() if is_peft_folder(folder) else folder)
        return encoder, load_exported(self._plan(), folder, placement)

    @property
    def lost(self) -> str | None:
        try:
            find_folder(self.path)
        except DataError:
            return self.path
        return None

    def at(self, path: str) -> Self:
        if self.continue_lora:
            # LoRA weights, or the model beside which they stand.
            return self.model_copy(update={"path" if is_peft_folder(Path(path)) else "base": path})
        return self._whole_at(path)

    def _whole_at(self, path: str) -> Self:
        return self.model_copy(update={"path": path, "base": None, "continue_lora": False})

    @property
    def beside_lora(self) -> Self:
        return self._whole_at(self._path_of_whole) if self.continue_lora else self

    def in_full(self) -> Self:
        name = self._plan().name
        if self.continued is None:
            return self.at(name)
        return self.model_copy(update={"path": full_name(self.path, self.continued), "base": name})

    def for_exported(self, folder: Path) -> Self:
        from mdpo_vlm.parts.adapter_folder import named_base

        if not is_peft_folder(folder):
            plain = {"lora": None, "parts": Parts(), "freeze": (), "quantize": None, "kernels": None}
            return self._whole_at(str(folder.absolute())).model_copy(update=plain)
        named = self._whole_at(named_base(folder) or self._path_of_whole)
        own = self.beside_lora
        return own if named.lost and not own.lost else named

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

        folder, of_encoder = self.folder(), self._encoder_folder()
        name, quantize, kernels = full_name(self._path_of_whole, folder), self.quantize, self.kernels
        about = self.family(), quantize, self.training, self.encoder, kernels, self.continued
        return LoadPlan(folder, name, of_encoder, *about)

    @property
    def _path_of_whole(self) -> str:
        """The path or hub name of the model that LoRA is put on."""
        if not self.continue_lora:
            return self.path
        return self.base or base_name(adapter_folder(find_folder(self.path)))
