"""What plain transformers gives for the families of `chat_vlm`, and how far we are from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import PIL.Image
import torch
from mdpo_vlm.encoding.processors import load_processor
from mdpo_vlm.families import FAMILIES
from torch import Tensor
from transformers import AutoModelForMultimodalLM

from mdpo_core import IMAGE_MARK, Example, Placement, View, component
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.interfaces.measurements import TermInputs
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring.scorer import Scorer
from support.builders.small_vlms import SMALL

VIEWS = (View("chosen"), View("rejected"))
NATS = 2e-5


def adapter(family: str, folder: Path, **options: Any) -> Any:
    """PaliGemma has no chat template."""
    ready = {"prompts": "ready"} if SMALL[family].template is None else {}
    return component("adapter", "chat_vlm", path=str(folder), **ready, **options)


def examples(family: str, photographs: Path) -> list[Example]:
    """One picture, another shape of picture, none, two: as far as the family takes them."""
    wide, tall = (PIL.Image.open(file).convert("RGB") for file in sorted(photographs.iterdir())[:2])
    pictures = [(wide.resize((91, 62)),), (tall.resize((40, 77)),), (), (wide.resize((91, 62)), tall.resize((64, 64)))]
    least, most = FAMILIES[family].num_images
    return [
        Example(
            id=str(number),
            prompt=f"{IMAGE_MARK}\n" * len(images) + "What is in the picture?",
            responses={"chosen": "A Chinese temple" + " and trees" * number, "rejected": "A flower"},
            images=images,
        )
        for number, images in enumerate(pictures)
        if least <= len(images) <= (most or 2)
    ]


def plain_text(family: str, example: Example) -> str:
    """The prompt as the model's authors write it: their template, filled in by hand."""
    small, question = SMALL[family], "What is in the picture?"
    number = len(example.images)
    match family:
        case "paligemma":
            return "<image>\n" * number + question
        case "mllama":
            images, turn = "<|image|>" * number, "<|start_header_id|>{}<|end_header_id|>\n\n"
            return f"<bos>{turn.format('user')}{images}{question}<|eot_id|>{turn.format('assistant')}"
        case "llama4":
            images, turn = "<|image|>" * number, "<|header_start|>{}<|header_end|>\n\n"
            return f"<bos>{turn.format('user')}{images}{question}<|eot|>{turn.format('assistant')}"
        case "gemma3":
            images = "<start_of_image>" * number
            return f"<bos><start_of_turn>user\n{images}{question}<end_of_turn>\n<start_of_turn>model\n"
        case "gemma4" | "gemma4_unified":
            return f"<bos><|turn>user\n{'<|image|>' * number}{question}<turn|>\n<|turn>model\n"
        case "idefics2":
            return f"User:{'<image>' * number} {question}<end_of_utterance>\nAssistant:"
        case "idefics3" | "smolvlm":
            return f"<|im_start|>User:{'<image>' * number} {question}<end_of_utterance>\nAssistant:"
        case "phi4_multimodal":
            return f"<|user|>{'<|image|>' * number}{question}<|end|><|assistant|>"
        case "lfm3_vl" | "video_llama_3":
            images = "<|vision_start|><|image_pad|><|vision_end|>" * number
        case _ if family.startswith("qwen"):
            images = "<|vision_start|><|image_pad|><|vision_end|>" * number
        case "glm4v" | "glm46v" | "glm4v_moe":
            images = "<|begin_of_image|><|image|><|end_of_image|>" * number
        case _:
            images = small.image * number
    return f"<|im_start|>user\n{images}{question}<|im_end|>\n<|im_start|>assistant\n"


def plain_inputs(
    family: str, folder: Path, example: Example, response: str | None, text: str | None = None
) -> tuple[dict[str, Tensor], int]:
    """What transformers' own processor makes of prompt and response, and how long the prompt is.

    ``text``: the prompt as the processor takes it; None: a question in the family's template.
    """
    processor, text = load_processor(folder, folder)[0], text or plain_text(family, example)
    # numpy has no bfloat16.
    tensors = "pt" if family == "llama4" else "np"
    begin = {"add_special_tokens": False} if text.startswith("<bos>") else {}
    inputs = dict(processor(text=[text], images=list(example.images) or None, return_tensors=tensors, **begin))
    inputs.pop("labels", None)
    inputs = {name: torch.as_tensor(values) for name, values in inputs.items()}
    if family == "llama4":  # its pixels are rounded to bfloat16, whatever the model computes in
        inputs = {name: each.float() if each.is_floating_point() else each for name, each in inputs.items()}
    length = inputs["input_ids"].shape[1]
    if response is not None:
        lead = " " if family in ("idefics2", "idefics3", "smolvlm") else ""
        ids = processor.tokenizer(f"{lead}{response}{SMALL[family].end}", add_special_tokens=False, return_tensors="pt")
        marked = 1 if family == "paligemma" else 0
        for name, value in (("attention_mask", 1), ("token_type_ids", marked), ("mm_token_type_ids", 0)):
            if name in inputs:
                inputs[name] = torch.cat([inputs[name], torch.full_like(ids["input_ids"], value)], dim=1)
        if "cross_attention_mask" in inputs:  # a response sees what the end of its prompt sees
            seen = inputs["cross_attention_mask"]
            inputs["cross_attention_mask"] = torch.cat([seen, *[seen[:, -1:]] * ids["input_ids"].shape[1]], dim=1)
        inputs["input_ids"] = torch.cat([inputs["input_ids"], ids["input_ids"]], dim=1)
    return inputs, length


def gap(family: str, folder: Path, data: Sequence[Example], options: Scoring) -> float:
    """The furthest that a token's log-prob is from one forward of plain transformers, as a share of it beyond 1 nat."""
    made = adapter(family, folder)
    share = options.share_prefix and made.shares_prefix
    plain = AutoModelForMultimodalLM.from_pretrained(folder).eval()
    batch = BatchBuilder(made.encoder(), VIEWS, {}, (), 10**9, 0).build(data, range(len(data)), epoch=0)
    scorer = Scorer(
        made.load(Placement()), TermInputs(tuple(VIEWS)), options=options.model_copy(update={"share_prefix": share})
    )
    with torch.no_grad():
        found = scorer(batch).policy
        return max(
            float(((one - other).abs() / (1 + other.abs())).max())
            for row, example in enumerate(data)
            for view in VIEWS
            for one, other in [
                (found[view].values[row][found[view].mask[row]], plain_log_probs(plain, family, folder, example, view))
            ]
        )


def plain_log_probs(plain: Any, family: str, folder: Path, example: Example, view: View) -> Tensor:
    """Of each token of a response, ``(time,)``."""
    inputs, length = plain_inputs(family, folder, example, example.responses[view.response])
    log_probs: Tensor = plain(**inputs).logits[0, length - 1 : -1].log_softmax(-1)
    return log_probs.gather(1, inputs["input_ids"][0, length:, None])[:, 0]
