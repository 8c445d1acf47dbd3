"""Build the scenes' model with random weights: its CLIP looks at one place at a time."""

from __future__ import annotations

import re

from mdpo_vlm import TinyLlava
from tokenizers import Regex
from tokenizers.pre_tokenizers import Sequence, Split, WhitespaceSplit
from transformers import LlavaProcessor

from mdpo_scenes.pictures import CELL, SIDE
from mdpo_scenes.scenes import COLORS, KINDS, ROOMS
from mdpo_scenes.texts import DESCRIBE, STYLES

SIZES = TinyLlava(side=SIDE, patch=CELL, vision_width=128, vision_layers=2, ties_words=True)
_OTHERS = "a an and , . with Yes No Is there the in this image ?"
_WORD = r"\w+|[^\w\s]"


def build_processor() -> LlavaProcessor:
    """Build the processor; its tokenizer knows the words in captions, questions and answers."""
    texts = [DESCRIBE, *(part for style in STYLES for part in style), *KINDS, *ROOMS, *COLORS, _OTHERS]
    words = [word for text in texts for word in re.findall(_WORD, text)]
    return SIZES.processor(words, Sequence([WhitespaceSplit(), Split(Regex(_WORD), "removed", invert=True)]))
