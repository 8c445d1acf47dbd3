"""The special needs of each family of models: one row for each family.

A family is a ``model_type`` of transformers. A family without a row is `UNKNOWN`: it is computed with the forward of
transformers, one sequence for each view.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

# The tokens that are 1 in an input; all others are 0.
Marked = Literal["image tokens", "image tokens and those around them", "response tokens"]
# The inputs of a video, as the models call them.
VIDEO_PIXELS, VIDEO_GRID, SECONDS_PER_PATCH = "pixel_values_videos", "video_grid_thw", "second_per_grid_ts"


@dataclass(frozen=True)
class VideoInput:
    """How a family takes a video that is not shown as images: in patches of several frames, with M-RoPE.

    Where a model's files do not say them: ``pixels``, the smallest and the largest number, ``patch_size``, and ``mean``
    and ``std`` of each channel. ``limited``: whose pixels are limited. ``reads_times``: the model is told when frames
    are shown.
    """

    pixels: tuple[int, int]
    patch_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    limited: Literal["each frame", "all frames"] = "each frame"
    reads_times: bool = False


@dataclass(frozen=True)
class Recurrent:
    """Where a family's layers have a state that goes from token to token (linear attention, a short convolution).

    ``module``: the module with the state, as a layer names it; layers without a state lack it. ``cache``: the argument
    of its forward that takes the cache of transformers.
    """

    module: str
    cache: str


@dataclass(frozen=True)
class Family:
    """The special needs of one family.

    ``separate``: why a prompt cannot be computed once for all its responses; empty if it can. ``projector``: a regular
    expression for parameters inside the vision encoder that belong to the projector. ``marks``: inputs with one number
    for each token, and the tokens marked 1. ``grid``: the input with the number of an image's patches in time, height
    and width, for models with positions in three dimensions (M-RoPE). ``flat``: a model with a ``grid`` counts
    positions in one dimension all the same. ``idle``: a regular expression for parameters that no feature depends on.
    ``softcap``: the model limits its logits, by ``final_logit_softcapping``. ``vision``: the vision encoders that we
    have tested, for families that also use others (Pixtral's). ``num_images``: the smallest and the largest number of
    images in a row; None is no limit. ``reads_pixels``: the number of an image's features depends on the values of its
    inputs, not only on their shapes, or is not known without them. ``tiles``: the input with a row for each tile of an
    image, for models that take the patches of all tiles side by side, in the last dimension of the pixels. ``video``:
    the model's own video input, if mdpo computes it; it needs ``grid``. ``recurrent``: layers with a state, which each
    response takes over from its prompt. ``tells_window``: each layer with a sliding window gives it to its attention as
    ``sliding_window``, so that packed rows keep to it; families that do not say so share prompts only if no sequence is
    longer than the window. ``unadaptable``: a regular expression for linear layers that LoRA cannot adapt, because peft
    takes their names for those of experts, which it adapts instead. ``experts``: layers of the language model are
    mixtures of experts. ``cross_attention``: pictures enter as states that layers of their own read, as in Llama 3.2
    Vision; its prompts have one token for each picture. ``projects_itself``: the whole model applies the projector, and
    has no model inside without a head, as Llama 4. ``embeds_images``: the embedding puts features into the text by
    itself, as in Phi-4 multimodal. ``around``: the tokens that stand around those of an image, and are marked with
    them; only a tokenizer knows their numbers. ``pooling``: the input with the numbers of the patches that
    become one feature, counted through all images of a row, as Molmo 2 has it.
    """

    separate: str = ""
    projector: str = r"$^"
    marks: Mapping[str, Marked] = field(default_factory=dict)
    grid: str = ""
    flat: bool = False
    idle: str = r"$^"
    softcap: bool = False
    vision: tuple[str | None, ...] = ()
    language: tuple[str | None, ...] = ()
    num_images: tuple[int, int | None] = (0, None)
    reads_pixels: bool = False
    tiles: str = ""
    video: VideoInput | None = None
    recurrent: Recurrent | None = None
    tells_window: bool = False
    unadaptable: str = r"$^"
    experts: bool = False
    cross_attention: bool = False
    projects_itself: bool = False
    embeds_images: bool = False
    around: tuple[str, ...] = ()
    pooling: str = ""

    @property
    def has_mrope(self) -> bool:
        """Whether positions are counted in three dimensions."""
        return bool(self.grid) and not self.flat


# The defaults of the video processors of transformers.
_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_VIDEO = VideoInput((128 * 28**2, 768 * 28**2), 14, _CLIP_MEAN, _CLIP_STD)
_VIDEO_3 = VideoInput((128 * 32**2, 768 * 32**2), 16, (0.5,) * 3, (0.5,) * 3, "all frames", reads_times=True)

_QWEN = Family(
    projector=r"\.merger\.", marks={"mm_token_type_ids": "image tokens"}, grid="image_grid_thw", video=_VIDEO
)
_QWEN_3 = replace(_QWEN, projector=r"\.(merger|deepstack_merger_list)\.", video=_VIDEO_3)
_LINEAR = Recurrent("linear_attn", "cache_params")
_QWEN_3_5 = replace(_QWEN, video=_VIDEO_3, recurrent=_LINEAR)
# peft reads these names as those that experts had in older versions of transformers.
_LIKE_EXPERTS = r"\.(gate|gate_proj|up_proj|down_proj)$"
_GLM = Family(projector=r"\.(downsample|merger)\.", marks={"mm_token_type_ids": "image tokens"}, grid="image_grid_thw")
# Language models that read a prompt causally, as all these families may have them; None: the family's usual one. Others
# may have what packed attention lacks: sinks, a state from token to token, prompts that are seen in both directions.
_CAUSAL = (
    *("llama", "mistral", "ministral3", "qwen2", "qwen3", "qwen3_moe", "cohere", "cohere2", "gemma", "phi", "phi3"),
    None,
)
_ANY_CAUSAL = Family(language=_CAUSAL)
_MISTRAL = Family(vision=("pixtral",), language=_CAUSAL, reads_pixels=True)
_GEMMA_4 = Family(
    separate="layers have a sliding window, and in some sizes an image's tokens attend in both directions",
    marks={"mm_token_type_ids": "image tokens"},
    idle=r"\.(audio_tower|embed_audio)\.",
    softcap=True,
    reads_pixels=True,
)

FAMILIES: Mapping[str, Family] = {
    "llava": Family(vision=("clip_vision_model", "siglip_vision_model", None), language=_CAUSAL),
    "llava_next": _ANY_CAUSAL,
    "llava_next_video": _ANY_CAUSAL,
    # It shows the model fewer patches of each image if there are several, so an image depends on the whole row.
    "llava_onevision": Family(language=_CAUSAL, num_images=(0, 1)),
    "qwen2_vl": _QWEN,
    "qwen2_5_vl": replace(_QWEN, video=replace(_VIDEO, reads_times=True)),
    "qwen3_vl": _QWEN_3,
    "qwen3_vl_moe": replace(_QWEN_3, experts=True),
    "qwen3_omni_moe_thinker": Family(
        projector=r"\.(merger|merger_list)\.",
        grid="image_grid_thw",
        idle=r"\.audio_tower\.",
        unadaptable=_LIKE_EXPERTS,
        experts=True,
    ),
    "qwen3_5": _QWEN_3_5,
    "qwen3_5_moe": replace(_QWEN_3_5, experts=True),
    "minicpmv4_6": Family(reads_pixels=True, tiles="target_sizes", recurrent=_LINEAR),
    "minicpmv4_7": Family(
        marks={"mm_token_type_ids": "image tokens"},
        grid="target_sizes",
        reads_pixels=True,
        tiles="target_sizes",
        recurrent=_LINEAR,
    ),
    "lfm3_vl": Family(
        grid="image_grid_thw", flat=True, recurrent=Recurrent("conv", "past_key_values"), tells_window=True
    ),
    "lfm2_vl": Family(language=("lfm2", None), reads_pixels=True, recurrent=Recurrent("conv", "past_key_values")),
    "glm4v": _GLM,
    "glm46v": _GLM,
    "glm4v_moe": replace(_GLM, unadaptable=_LIKE_EXPERTS, experts=True),
    "internvl": _ANY_CAUSAL,
    "mistral3": _MISTRAL,
    "mistral4": replace(_MISTRAL, language=(), experts=True),
    # The published file calls its language model kimi_k2; transformers reads it as DeepSeek-V3.
    "kimi_k25": Family(language=("deepseek_v3", "kimi_k2", None), reads_pixels=True, experts=True),
    "aya_vision": _ANY_CAUSAL,
    "cohere2_vision": _ANY_CAUSAL,
    "ovis2": _ANY_CAUSAL,
    "deepseek_vl": Family(language=_CAUSAL, idle=r"vision_model\.head\."),
    "video_llama_3": Family(language=_CAUSAL, reads_pixels=True),
    "phi4_multimodal": Family(
        projector=r"\.image_embed\.(img_projection|\w+_img_feature_extensor)|\.audio_embed\.",
        idle=r"\.audio_embed\.",
        reads_pixels=True,
        embeds_images=True,
    ),
    "mllama": Family(
        separate="its cross-attention shows all pictures of a row to all of its text, so a row has one prompt",
        cross_attention=True,
    ),
    "llama4": Family(experts=True, projects_itself=True),
    "molmo2": Family(
        separate="the tokens of all its images, and those around them, attend to one another in both directions",
        marks={"mm_token_type_ids": "image tokens and those around them"},
        around=(
            *("<im_col>", "<im_start>", "<low_res_im_start>", "<im_end>", "<im_low>"),
            *("<frame_start>", "<frame_end>"),
        ),
        pooling="image_token_pooling",
    ),
    "idefics2": Family(language=_CAUSAL, reads_pixels=True),
    "idefics3": Family(language=_CAUSAL, reads_pixels=True),
    "smolvlm": Family(language=_CAUSAL, reads_pixels=True),
    "gemma3": Family(
        separate="the tokens of an image attend to one another in both directions, and layers have a sliding window",
        marks={"token_type_ids": "image tokens"},
    ),
    "gemma4": _GEMMA_4,
    "gemma4_unified": replace(_GEMMA_4, projector=r"\.multimodal_embedder\."),
    "paligemma": Family(
        separate="a prompt's tokens attend to one another in both directions",
        marks={"token_type_ids": "response tokens"},
        softcap=True,
        num_images=(1, None),
    ),
}
# Model types that are not tried when they are loaded, and why.
_TIMM = "its vision encoder is one of timm, which needs torchvision"
REFUSED: Mapping[str, str] = {
    "perception_lm": f"{_TIMM}; InternVL (model_type internvl), which cuts tiles, too, does not",
    "qwen3_omni_moe": "it also speaks; save its thinker apart (model_type qwen3_omni_moe_thinker), and train that",
    "gemma3n": f"{_TIMM}; Gemma 3 (model_type gemma3) does not",
}
UNKNOWN = Family(separate="nobody has tested this family; see docs/extend/add-a-model.md")


def refusal(config: Mapping[str, Any]) -> str:
    """Why a model with this ``config.json`` cannot be used; empty if it can."""
    text = config.get("text_config")
    if not isinstance(text, Mapping):
        text = {}
    if config.get("model_type") == "llama4" and not text.get("attention_chunk_size", True):
        return "text_config.attention_chunk_size is empty or 0, but transformers computes this type only in chunks"
    if text.get("conv_bias"):
        return "text_config.conv_bias is true, with which padding before a prompt would change its state"
    return REFUSED.get(str(config.get("model_type")), "")


def family_of(config: Mapping[str, Any]) -> Family:
    """The row of a ``config.json``, or `UNKNOWN`."""
    model_type, language, vision = str(config.get("model_type")), _type_in(config, "text"), _type_in(config, "vision")
    if model_type == "mistral3" and language == "mistral4":
        model_type = "mistral4"  # Mistral Small 4
    family = FAMILIES.get(model_type, UNKNOWN)
    tested = ((family.vision, vision), (family.language, language))
    return family if all(found in known for known, found in tested if known) else UNKNOWN


def _type_in(config: Mapping[str, Any], part: str) -> Any:
    """The model type of a part; None if its configuration does not say it."""
    values = config.get(f"{part}_config")
    return values.get("model_type") if isinstance(values, Mapping) else None
