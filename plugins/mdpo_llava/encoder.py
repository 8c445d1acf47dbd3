"""Examples to token ids and pixels, by the model's own processor."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoProcessor

from mdpo_core import IMAGE_MARK, DataError, EncodedPrompt, Example, Problem


class LlavaEncoder:
    """Prompts as the processor makes them; responses tokenized apart, as in the paper's data."""

    def __init__(self, folder: Path, chat: bool) -> None:
        # The same image processor everywhere: results must not depend on torchvision being installed.
        self.processor = AutoProcessor.from_pretrained(folder, backend="pil", trust_remote_code=False)
        self._chat = chat

    def encode_prompt(self, example: Example) -> EncodedPrompt:
        marks, images = example.prompt.count(IMAGE_MARK), list(example.images)
        if marks != len(images):
            text = f"the prompt has {marks} {IMAGE_MARK} marks for {len(images)} images"
            raise DataError([Problem(f"example '{example.id}'", "", text)])
        prompt = self._text(example.prompt).replace(IMAGE_MARK, self.processor.image_token)
        inputs = self.processor(images=images or None, text=prompt, return_tensors="pt")
        pixels = {"pixel_values": inputs["pixel_values"]} if images else {}
        return EncodedPrompt(inputs["input_ids"][0], pixels)

    def encode_response(self, response: str) -> Tensor:
        tokenizer = self.processor.tokenizer
        ids = tokenizer(response, add_special_tokens=False)["input_ids"]
        return torch.tensor([*ids, tokenizer.eos_token_id])

    def decode(self, token_ids: Tensor) -> str:
        return str(self.processor.tokenizer.decode(token_ids, skip_special_tokens=True)).strip()

    def _text(self, prompt: str) -> str:
        if not self._chat:
            return prompt
        turn = [{"role": "user", "content": [{"type": "text", "text": prompt}]}]
        text = self.processor.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
        # The processor adds the begin token itself.
        return str(text).removeprefix(self.processor.tokenizer.bos_token or "")
