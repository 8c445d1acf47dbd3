"""Whether the files of a model fit together: compared on torch's meta device, before weights are read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from transformers import PreTrainedModel

from mdpo_core import IMAGE_MARK, DataError, EncodedPrompt, Example, ImageInputs, Problem
from mdpo_vlm.encoding.encoder import VlmEncoder
from mdpo_vlm.families import UNKNOWN, Family
from mdpo_vlm.files.damage import reading
from mdpo_vlm.files.folder import has_weights, unfit, weight_files
from mdpo_vlm.files.stored import Stored, stored_tensors
from mdpo_vlm.forward.calls import open_calls
from mdpo_vlm.forward.images import encode_images
from mdpo_vlm.forward.videos import as_image
from mdpo_vlm.loading.shapes import without_weights

_SECONDS = 60.0
# A file may leave out weights that are tied, but not most of them.
_MORE = 4
# Higher than wide: processors that keep the shape of a picture show it.
_PICTURE = Image.merge("RGB", [Image.linear_gradient("L").rotate(90 * turn) for turn in range(3)]).resize((96, 128))
_QUESTION = Example("trial", f"{IMAGE_MARK}\nWhat is in the picture?", {}, (_PICTURE,))
_ABOUT_VIDEO = Example(
    "trial",
    f"{IMAGE_MARK * 2}\nWhat happens?",
    {},
    (_PICTURE, _PICTURE.rotate(180)),
    videos=(range(2),),
    frame_times=((0.0, 1.0),),
)
_HINT = "do the processor's settings (patch size, image size, number of image tokens) fit the model?"


def require_fit(folder: Path, family: Family, encoder: VlmEncoder, processor: Path) -> None:
    """Compare weights, configuration and processor of a model. Raises `DataError` if they are of different models.

    ``folder`` contains the model, ``processor`` the files of ``encoder``. The images of a family whose encoder reads
    its pixels are compared when they are first encoded, those of an unknown family when the model is loaded.
    """
    encoder.loaded  # noqa: B018  # an error of the processor is its own, not one of encoding
    base = without_weights(folder)
    if has_weights(folder):
        _require_weights(folder, base)
    prompt = _trial(encoder, processor)
    _require_positions(folder, base, prompt)
    if family.embeds_images:
        _require_tiles(base, prompt.images[0], processor)
    if family is UNKNOWN or family.reads_pixels:
        return
    num_tokens, [inputs] = int((prompt.token_ids == encoder.image_token).sum()), prompt.images
    with reading(folder, "its vision encoder does not take a picture", [], _SECONDS):
        fitting = _of_own_size(base, inputs)
        num_features = (
            _features_of_grid(base, inputs[family.grid]) if family.grid else _num_features(base, family, fitting)
        )
    made, taken = _sizes(inputs), _sizes(fitting)
    if num_tokens != num_features or made != taken:
        found = (
            f", and patches of {made} values for {taken}"
            if family.pooling
            else f", and images of {made} pixels for {taken} pixels"
        )
        sizes = found if made != taken else ""
        raise unfit(processor, f"{num_tokens} image tokens for {num_features} image features{sizes}; {_HINT}")
    if encoder.shows_videos:
        _require_video_fits(base, family, encoder, processor)


def _require_tiles(base: PreTrainedModel, inputs: ImageInputs, processor: Path) -> None:
    """Raise `DataError` if pictures are cut into tiles of another size than the model's (Phi-4)."""
    vision = base.config.vision_config
    made = inputs["image_pixel_values"].shape[-1], inputs["image_attention_mask"].shape[-1]
    taken = vision.crop_size, vision.image_size // vision.patch_size
    if made != taken:
        found, wanted = (f"{pixels} pixels and {patches} patches" for pixels, patches in (made, taken))
        raise unfit(processor, f"it cuts tiles whose sides have {found}, and the model's have {wanted}; {_HINT}")


def _require_video_fits(base: PreTrainedModel, family: Family, encoder: VlmEncoder, processor: Path) -> None:
    with reading(processor, "its processor does not take a video", [], _SECONDS):
        prompt = encoder.encode_prompt(_ABOUT_VIDEO)
    inputs = as_image(prompt.images[0], family)
    made, taken = _sizes(inputs), _sizes(_of_own_size(base, inputs))
    num_tokens = int((prompt.token_ids == encoder.image_token).sum())
    num_features = _features_of_grid(base, inputs[family.grid])
    if num_tokens != num_features or made != taken:
        found = f"{num_tokens} video tokens for {num_features} video features, and patches of {made} values for {taken}"
        raise unfit(processor, f"{found}; do the video processor's settings (patch sizes) fit the model?")


def _trial(encoder: VlmEncoder, processor: Path) -> EncodedPrompt:
    """A question about a picture, encoded. Raises `DataError` for settings with which no row can be encoded."""
    try:
        with reading(processor, "its processor does not take a picture", [], _SECONDS):
            prompt = encoder.encode_prompt(_QUESTION)
            encoder.encode_response("A ramp.")
    except DataError as error:
        where = str(processor)
        problems = [each if where in each.where else Problem(where, "", each.message) for each in error.problems]
        raise DataError(problems) from error
    for name, values in prompt.images[0].items():
        if values.is_floating_point() and not bool(values.isfinite().all()):
            raise unfit(
                processor,
                f"the image processor gives {name} that are infinite or NaN; are image_std and rescale_factor right?",
            )
    return prompt


def _require_positions(folder: Path, base: PreTrainedModel, prompt: EncodedPrompt) -> None:
    positions = getattr(base.config.get_text_config(), "max_position_embeddings", None)
    if isinstance(positions, int) and len(prompt.token_ids) >= positions:
        text = (
            f"max_position_embeddings is {positions}, but a question about a picture has {len(prompt.token_ids)} tokens"
        )
        raise unfit(folder / "config.json", f"{text}; is it the model's number?")


def _require_weights(folder: Path, base: PreTrainedModel) -> None:
    """Raise `DataError` if the weights are of a model of another size than the configuration's."""
    stored = stored_tensors(weight_files(folder))
    embedding = base.get_input_embeddings()
    wanted = tuple(embedding.weight.shape)
    end = f".{_name_of(base, embedding).rpartition('.')[2]}.weight"
    for name, tensor in stored.items():
        if name.endswith(end) and "vision" not in name and tensor.shape != wanted:
            found = f"{name} has the shape {tensor.shape}, and {wanted} by vocab_size and hidden_size in config.json"
            raise unfit(tensor.file, f"{found}; they belong to different models")
    numbers, present = (sum(map(math.prod, shapes)) for shapes in (_shapes(base), _stored_shapes(stored)))
    if numbers > _MORE * present:
        text = f"config.json describes a model of {numbers:,} weights, but the files contain {present:,}"
        raise unfit(folder, f"{text}; they belong to different models")


def _shapes(base: PreTrainedModel) -> list[tuple[int, ...]]:
    return [tuple(parameter.shape) for parameter in base.parameters()]


def _stored_shapes(stored: Mapping[str, Stored]) -> list[tuple[int, ...]]:
    return [tensor.shape for tensor in stored.values()]


def _name_of(base: nn.Module, module: nn.Module) -> str:
    names: dict[int, str] = {id(each): name for name, each in base.named_modules()}
    return names[id(module)]


def _of_own_size(base: PreTrainedModel, inputs: ImageInputs) -> ImageInputs:
    """The inputs with pixels of the size that the vision encoder was made for, if it takes one size."""
    vision, pixels = base.config.vision_config, inputs["pixel_values"]
    if pixels.ndim == 2:  # patches in rows
        channels = getattr(vision, "in_channels", 3)
        length = channels * getattr(vision, "temporal_patch_size", 1) * vision.patch_size**2
        return {**inputs, "pixel_values": torch.empty(len(pixels), length, device="meta")}
    if vision.model_type == "molmo2_vision":  # the patches of crops in rows
        rows = vision.num_position_embeddings, vision.num_channels * vision.patch_size**2
        return {**inputs, "pixel_values": torch.empty(len(pixels), *rows, device="meta")}
    side = getattr(vision, "image_size", None)
    if side is None:
        return inputs
    height, width = (side, side) if isinstance(side, int) else side
    return {**inputs, "pixel_values": torch.empty(*pixels.shape[:-2], height, width, device="meta")}


def _num_features(base: PreTrainedModel, family: Family, inputs: ImageInputs) -> int:
    """The number of image tokens of an image, computed without numbers."""
    if family.pooling:  # a row of patches for each; -1 is none
        return int((inputs[family.pooling] >= 0).any(dim=-1).sum())
    if not family.projects_itself:
        open_calls(base.model)
    # Sizes and numbers of tiles keep their values: they decide about shapes.
    pixels = {name: each.to("meta") if each.is_floating_point() else each for name, each in inputs.items()}
    if family.cross_attention:
        pixels = {name: each.to("meta") for name, each in inputs.items()}
    with torch.no_grad():
        [image] = encode_images(base, family, [pixels])
    return 1 if family.cross_attention else len(image.features)


def _features_of_grid(base: PreTrainedModel, grid: Tensor) -> int:
    """The number of features of an image. ``(1, 3)``: its numbers of patches in time, height and width."""
    return int(grid.prod()) // int(base.config.vision_config.spatial_merge_size) ** 2


def _sizes(inputs: ImageInputs) -> str:
    """Height and width of the pixels, as in 28 x 28; of patches that lie in rows, the length of a row."""
    pixels = inputs["pixel_values"]
    return " x ".join(map(str, pixels.shape[-2:] if pixels.ndim > 2 else pixels.shape[-1:]))
