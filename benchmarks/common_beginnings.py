"""What common beginnings save: ``python -m benchmarks.common_beginnings``.

Times forward and backward of pairs whose answers share 80 % of their tokens, with these tokens computed once and with
each answer whole, one after the other in one process. The model is a small LLaVA; the prompts have no picture.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from unittest.mock import patch

import torch
from mdpo_vlm.families import FAMILIES
from mdpo_vlm.forward.attention import use_packed_attention
from mdpo_vlm.forward.last_layer import trim_last_layer
from mdpo_vlm.forward.model import VlmModel
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from mdpo_core import Batch, EncodedPrompt, View
from mdpo_core.data.collation import collate
from mdpo_core.interfaces.measurements import TermInputs
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring.scorer import Scorer
from mdpo_core.types import packing
from mdpo_core.types.batch import EncodedRow

_VIEWS = (View("chosen"), View("rejected"))
_VOCAB, _PAIRS, _PROMPT, _ANSWER, _SHARE, _STEPS = 8000, 4, 60, 200, 0.8, 7


def main() -> None:
    """Print the median seconds of a step both ways, and their ratio."""
    scorer, batch = Scorer(_model(), TermInputs(_VIEWS), options=Scoring()), _batch()
    shared, whole = [], []
    for _ in range(_STEPS + 1):
        shared.append(_seconds(scorer, batch))
        with patch.object(packing, "common_beginning", lambda responses: 0):
            whole.append(_seconds(scorer, batch))
    # The first step of each warms up.
    one, other = statistics.median(shared[1:]), statistics.median(whole[1:])
    print(f"common beginnings once: {one:.3f} s a step; each answer whole: {other:.3f} s; ratio {one / other:.2f}")


def _seconds(scorer: Scorer, batch: Batch) -> float:
    began = time.perf_counter()
    policy = scorer(batch).policy
    (policy[_VIEWS[0]].values.sum() - policy[_VIEWS[1]].values.sum()).backward()
    scorer.zero_grad()
    return time.perf_counter() - began


def _model() -> VlmModel:
    torch.manual_seed(0)
    sizes = {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 4, "num_attention_heads": 4}
    vision = CLIPVisionConfig(hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
    text = LlamaConfig(vocab_size=_VOCAB, **sizes)
    base = LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=text, image_token_id=3))
    use_packed_attention(base)
    trim_last_layer(base)
    return VlmModel(base, base, Path(), FAMILIES["llava"])


def _batch() -> Batch:
    rows, common = [], round(_SHARE * _ANSWER)
    for number in range(_PAIRS):
        begin = _tokens(common)
        answers = {view.response: torch.cat([begin, _tokens(_ANSWER - common)]) for view in _VIEWS}
        rows.append(EncodedRow(str(number), {"clean": EncodedPrompt(_tokens(_PROMPT))}, answers, {}, False))
    return collate(rows, _VIEWS)


def _tokens(number: int) -> torch.Tensor:
    return torch.randint(4, _VOCAB, (number,))


if __name__ == "__main__":
    main()
