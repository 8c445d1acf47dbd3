"""Tokenizer, chat template and image processor of a converted checkpoint."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, LlavaProcessor
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from mdpo_core import IMAGE_MARK, RecipeError
from mdpo_vlm.files.damage import reading
from mdpo_vlm.files.folder import encoder_files, require_tokenizer, unfit
from mdpo_vlm.originals.checkpoint_layout import Original
from mdpo_vlm.originals.tower import Tower

# The template of Bunny and of LLaVA's v1. The images of a turn always come first.
_TEMPLATE = """\
{%- if messages[0]['role'] == 'system' -%}
{%- set system = messages[0]['content'] -%}
{{- system if system is string else system | map(attribute='text') | join('') -}}
{%- else -%}
{{- "A chat between a curious user and an artificial intelligence assistant. " -}}
{{- "The assistant gives helpful, detailed, and polite answers to the user's questions." -}}
{%- endif -%}
{{- ' ' -}}
{%- for message in messages if message['role'] != 'system' -%}
{{- 'USER: ' if message['role'] == 'user' else 'ASSISTANT: ' -}}
{%- if message['content'] is string -%}
{{- message['content'] -}}
{%- else -%}
{%- for item in message['content'] if item['type'] == 'image' -%}{{- 'IMAGE_TEXT\\n' -}}{%- endfor -%}
{{- message['content'] | selectattr('type', 'equalto', 'text') | map(attribute='text') | join('') | trim -}}
{%- endif -%}
{{- ' ' if message['role'] == 'user' else 'END' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- 'ASSISTANT:' -}}{%- endif -%}
"""
_AFTER = "\nA"


def load_tokenizer(original: Original) -> Any:
    """The checkpoint's tokenizer with an image token. Raises `RecipeError` if a package that it needs is missing."""
    files = encoder_files(original.folder)
    require_tokenizer(original.folder)
    names = {file.name for file in files}
    if "tokenizer.model" in names and "tokenizer.json" not in names:
        _require_sentencepiece(original)
    # Without config.json: it asks for the authors' code, or transformers takes its model type for another one.
    with reading(original.folder, "its tokenizer cannot be loaded", files) as folder:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, extra_special_tokens={"image_token": IMAGE_MARK}
        )
    tokenizer.name_or_path = str(original.folder)
    # This option is for word pieces; with other tokenizers it removes spaces that belong to the text.
    tokenizer.clean_up_tokenization_spaces = False
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def image_text(tokenizer: Any) -> str:
    """The text for an image in a prompt, after which text is tokenized as if it stood alone, as in the authors' code.

    A SentencePiece tokenizer adds a space at the start of a text, but not after an image token inside it; there the
    space must be in the text.
    """
    alone = tokenizer(_AFTER, add_special_tokens=False)["input_ids"]
    for text in (IMAGE_MARK, f"{IMAGE_MARK} "):
        _, *after_image = tokenizer(text + _AFTER, add_special_tokens=False)["input_ids"]
        if after_image == alone:
            return text
    folder = Path(tokenizer.name_or_path)
    raise unfit(folder, f"{type(tokenizer).__name__} tokenizes text after an image differently from text alone")


def save_processor(tower: Tower, tokenizer: Any, text: str, folder: Path) -> None:
    """Write the processor into ``folder``. ``text``: the text for an image in a prompt."""
    size = tower.config.image_size
    square = {"height": size, "width": size}
    clip = tower.config.model_type == "clip_vision_model"
    LlavaProcessor(
        image_processor=LlavaImageProcessorPil(
            do_pad=True,
            size={"shortest_edge": size} if clip else square,
            crop_size=square,
            do_center_crop=clip,
            image_mean=list(tower.mean),
            image_std=list(tower.std),
        ),
        tokenizer=tokenizer,
        patch_size=tower.config.patch_size,
        vision_feature_select_strategy="default" if clip else "full",
        num_additional_image_tokens=int(clip),
        chat_template=_TEMPLATE.replace("IMAGE_TEXT", text).replace("END", tokenizer.eos_token),
    ).save_pretrained(folder)


def _require_sentencepiece(original: Original) -> None:
    missing = [
        name
        for name, module in (("sentencepiece", "sentencepiece"), ("protobuf", "google.protobuf"))
        if not _is_installed(module)
    ]
    if missing:
        raise RecipeError(
            f"model.path: {original.folder / 'tokenizer.model'} needs {' and '.join(missing)}: "
            'pip install "mdpo[llava]"'
        )


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
