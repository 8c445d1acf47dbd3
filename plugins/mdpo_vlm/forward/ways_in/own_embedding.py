"""Pictures that the embedding puts into the text by itself, after its own encoder has seen their tiles (Phi-4).

transformers calls the projector for each picture, and gives the encoder tiles of zeros for pictures with fewer tiles
than others. Here all pictures go through both at once, without such tiles: processes that split weights must all make
the same number of calls.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import gelu
from transformers import PreTrainedModel

from mdpo_core import EncodedImage, ImageInputs, on_cpu
from mdpo_vlm.files.config import image_token_id
from mdpo_vlm.forward.calls import open_calls

_PIXELS, _SIZES, _SHOWN = "image_pixel_values", "image_sizes", "image_attention_mask"


def take_features(base: PreTrainedModel) -> None:
    """Let the embedding take the features of images where it takes their pixels. This changes the model permanently.

    Patches of a tile see one another in both directions, as the model's authors compute them. transformers lets them
    see only those before them if its attention is SDPA's and every tile of a row's pictures is full.
    """
    embedding: Any = base.model
    embedding.embed_tokens_extend.forward = partial(_embed, image_token_id(base.config))
    images = embedding.embed_tokens_extend.image_embed
    open_calls(images)
    for module in images.img_processor.modules():
        if hasattr(module, "is_causal"):
            module.is_causal = False


def _embed(
    token: int, input_ids: Tensor, inputs_embeds: Tensor, image_pixel_values: Tensor | None = None, **_: object
) -> Tensor:
    """The embeddings ``(batch, time, width)``, with ``image_pixel_values (image_tokens, width)`` at the image tokens.

    A token that is generated comes alone, with the features of its prompt's images, of which none is taken.
    """
    if image_pixel_values is None or input_ids.shape[1] == 1:
        return inputs_embeds
    return inputs_embeds.masked_scatter((input_ids == token)[..., None], image_pixel_values.to(inputs_embeds))


def embedded_inputs(images: Sequence[EncodedImage]) -> Mapping[str, Tensor]:
    """The arguments for the model's forward that replace its pixels."""
    return {_PIXELS: torch.cat([image.features for image in images])}


@dataclass(frozen=True)
class _Tiles:
    """How the tiles of an image lie, without the whole image that comes before them.

    ``height`` and ``width``: the features that show the image; those beyond show what was added to fill the tiles.
    """

    rows: int
    columns: int
    height: int
    width: int

    @property
    def number(self) -> int:
        """The number of tiles, with the one that shows the whole image."""
        return 1 + self.rows * self.columns

    def num_tokens(self, side: int) -> int:
        """The image tokens, where a tile has ``side`` times ``side`` features: each line has one for its end."""
        return self.height * (self.width + 1) + 1 + side * (side + 1)


def encode_tiles(base: PreTrainedModel, images: Sequence[ImageInputs]) -> Sequence[EncodedImage]:
    """Encode all images in one call of the model, its encoder and its projector."""
    embedding: Any = base.model.embed_tokens_extend.image_embed
    tiles = [_tiles_of(image, embedding.crop_size) for image in images]
    pixels = torch.cat([image[_PIXELS].flatten(0, 1) for image in images]).to(base.dtype)
    shown = torch.cat([image[_SHOWN].flatten(0, 1) for image in images]).bool()

    def compute(_: object) -> Tensor:
        features = embedding.get_img_features(pixels, attention_mask=shown)
        side = math.isqrt(features.shape[1])
        by_image = torch.split(_folded(features, 1, side, side), [each.number for each in tiles])
        lines = [_lines(embedding, *each) for each in zip(by_image, tiles, strict=True)]
        projected: Tensor = embedding.img_projection_down(gelu(embedding.img_projection_up(torch.cat(lines))))
        return projected

    # Inside calls of both modules: the ends of lines are weights of the embedding itself.
    features = base.model(compute=lambda _: embedding(compute=compute))
    side = math.isqrt(embedding.num_img_tokens)
    by_image = torch.split(features, [each.num_tokens(side) for each in tiles])
    return [EncodedImage(part, inputs) for part, inputs in zip(by_image, images, strict=True)]


def _tiles_of(image: ImageInputs, crop_size: int) -> _Tiles:
    """Read from the inputs of one image: the size that it was brought to, and the patches that show it."""
    rows, columns = (side // crop_size for side in on_cpu(image, _SIZES)[0].tolist())
    # A feature joins two patches by two.
    shown = _side_by_side(on_cpu(image, _SHOWN)[0, 1:, ::2, ::2], rows, columns)
    return _Tiles(rows, columns, int(shown[:, 0].sum()), int(shown[0].sum()))


def _lines(embedding: Any, features: Tensor, tiles: _Tiles) -> Tensor:
    """The features ``(tiles, side, side, width)`` of an image in the order of its tokens: its tiles, then the whole."""
    image = _side_by_side(features[1:], tiles.rows, tiles.columns)[: tiles.height, : tiles.width]
    between = embedding.global_img_feature_extensor[0]
    return torch.cat([_with_ends(embedding, image), between, _with_ends(embedding, features[0])])


def _side_by_side(tiles: Tensor, rows: int, columns: int) -> Tensor:
    """Tiles ``(rows * columns, height, width, ...)`` as one image ``(rows * height, columns * width, ...)``."""
    return _folded(tiles, 0, rows, columns).transpose(1, 2).flatten(2, 3).flatten(0, 1)


def _folded(values: Tensor, dim: int, rows: int, columns: int) -> Tensor:
    """One dimension as two."""
    return values.reshape(*values.shape[:dim], rows, columns, *values.shape[dim + 1 :])


def _with_ends(embedding: Any, lines: Tensor) -> Tensor:
    """``(height, width, features)``, line by line, each with the same feature after its last."""
    end = embedding.sub_img_feature_extensor[0].expand(len(lines), -1, -1)
    return torch.cat([lines, end], dim=1).flatten(0, 1)
