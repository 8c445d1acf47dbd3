"""What the upstream code of Bunny and LLaVA produced on tiny checkpoints: see data/upstream/FIXTURES.md."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from mdpo_core import EncodedPrompt, Example, Placement, component
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.interfaces.measurements import TermInputs
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring.scorer import Scorer
from mdpo_core.types.batch import Batch
from mdpo_core.types.view import CHOSEN, REJECTED
from support.paths import DATA

FOLDER = DATA / "upstream"
IMAGE = -200  # upstream's mark of an image, among token ids
VIEWS = (CHOSEN, REJECTED)
ROWS = ("0", "1", "2")
PATHS = [Scoring(share_prefix=share, max_logits=logits) for share in (True, False) for logits in (None, 2**23, 361 * 5)]


@dataclass(frozen=True)
class Upstream:
    """A checkpoint and what upstream made of it; ``numbers``: the folder that holds them."""

    adapter: str
    checkpoint: Path
    numbers: Path

    @cached_property
    def expected(self) -> Mapping[str, Any]:
        with np.load(self.numbers / "expected.npz") as arrays:
            return {name: torch.from_numpy(np.asarray(values)) for name, values in arrays.items()}

    @cached_property
    def inputs(self) -> Mapping[str, Any]:
        return dict(json.loads((self.numbers / "inputs.json").read_text()))

    def make(self, **options: Any) -> Any:
        return component("adapter", self.adapter, path=str(self.checkpoint), **options)

    @cached_property
    def model(self) -> Any:
        return self.make().load(Placement())

    @cached_property
    def encoder(self) -> Any:
        return self.make().encoder()

    @cached_property
    def chat(self) -> Any:
        return self.make(prompts="chat").encoder()

    def item(self, row: str) -> Mapping[str, Any]:
        return dict(self.inputs["multi"] if row == "multi" else self.inputs["items"][int(row)])

    def example(self, row: str, prompt: Any = None) -> Example:
        item = self.item(row)
        with PIL.Image.open(self.numbers / item["image"]) as image:
            picture = image.convert("RGB")
        responses = {name: item[name] for name in ("chosen", "rejected")}
        return Example(row, prompt or item["prompt"], responses, (picture,))

    def batch(self, rows: Sequence[str]) -> Batch:
        builder = BatchBuilder(self.encoder, VIEWS, {}, (), 10**6, 0)
        return builder.build([self.example(row) for row in rows], range(len(rows)), epoch=0)

    def token_log_probs(self, batch: Batch, scoring: Scoring) -> dict[str, list[Tensor]]:
        """Of each response's tokens, row by row, the end token's with them."""
        with torch.no_grad():
            policy = Scorer(self.model, TermInputs(tuple(VIEWS)), options=scoring)(batch).policy
        return {
            view.response: [values[mask] for values, mask in zip(policy[view].values, policy[view].mask, strict=True)]
            for view in VIEWS
        }

    def collapsed(self, prompt: EncodedPrompt) -> list[int]:
        """Token ids with one mark for all tokens of an image, as upstream has them."""
        image = self.encoder.processor.image_token_id
        ids = prompt.token_ids.tolist()
        assert ids.count(image) == self.inputs["image_tokens"]
        first = ids.index(image)
        return [*ids[:first], IMAGE, *[each for each in ids[first:] if each != image]]


def all_cases(folder: Path) -> dict[str, Upstream]:
    """By name; ``folder``: where a checkpoint goes that has its tokenizer in another form."""
    bunny, split, llava = (FOLDER / name for name in ("bunny_tiny", "bunny_tiny_split", "llava_original_tiny"))
    fast = folder / "llava_fast"
    shutil.copytree(llava, fast, ignore=shutil.ignore_patterns("tokenizer*", "special_tokens_map.json"))
    for file in (llava / "tokenizer_fast").iterdir():
        shutil.copyfile(file, fast / file.name)
    return {
        "bunny": Upstream("bunny", bunny, bunny),
        "bunny, tower apart": Upstream("bunny", split, bunny),
        "llava": Upstream("llava", llava, llava),
        "llava, without sentencepiece": Upstream("llava", fast, llava),
    }
