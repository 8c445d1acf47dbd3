"""From rows to a batch: read, corrupt, encode, collate (in `collation.py`)."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mdpo_core.batch import Batch, EncodedPrompt
from mdpo_core.collation import EncodedRow, collate
from mdpo_core.components import Term
from mdpo_core.corruption import Corruption
from mdpo_core.errors import DataError, Problem
from mdpo_core.example import IMAGE_MARK, Example
from mdpo_core.protocols import Encoder
from mdpo_core.view import CLEAN, View


@dataclass(frozen=True)
class BatchBuilder:
    """Builds batches that hold what some terms read; cheap to copy into a worker process.

    ``always_images``: a batch without any image gets a blank one, which no prompt shows. Where several processes share
    a model each must run all of it.
    """

    encoder: Encoder
    views: tuple[View, ...]
    corruptions: Mapping[str, Corruption]
    columns: tuple[str, ...]
    max_length: int
    seed: int
    always_images: bool = False

    @classmethod
    def for_terms(
        cls,
        terms: Iterable[Term],
        corruptions: Mapping[str, Corruption],
        encoder: Encoder,
        max_length: int,
        seed: int,
        always_images: bool = False,
    ) -> BatchBuilder:
        terms = list(terms)
        views = tuple(dict.fromkeys(view for term in terms for view in term.views()))
        columns = tuple(dict.fromkeys(name for term in terms for name in term.columns()))
        used = {view.condition: corruptions[view.condition] for view in views if view.condition != CLEAN}
        return cls(encoder, views, used, columns, max_length, seed, always_images)

    def clean(self) -> BatchBuilder:
        """The same responses and columns under the image as it was read."""
        return self.of(tuple(dict.fromkeys(View(view.response) for view in self.views)))

    def of(self, views: tuple[View, ...]) -> BatchBuilder:
        """The same for some views."""
        conditions = {view.condition for view in views}
        used = {name: corruption for name, corruption in self.corruptions.items() if name in conditions}
        return replace(self, views=views, corruptions=used)

    def build(self, data: Sequence[Example], rows: Sequence[int], epoch: int) -> Batch:
        """The batch of some rows of ``data``; `DataError` if one of them is unfit."""
        batch = collate([self.encode(data[row], data, epoch) for row in rows], self.views)
        return batch if batch.images or not self.always_images else replace(batch, images=self.blank().images)

    def blank(self) -> EncodedPrompt:
        """A prompt that shows a blank picture."""
        from PIL import Image

        return self.encoder.encode_prompt(Example("blank", IMAGE_MARK, {}, (Image.new("RGB", (8, 8)),)))

    def encode(self, example: Example, data: Sequence[Example], epoch: int) -> EncodedRow:
        """Encode one example under each condition that a view needs."""
        self._require(example)
        conditions = dict.fromkeys(view.condition for view in self.views)
        names = dict.fromkeys(view.response for view in self.views)
        row = EncodedRow(
            id=example.id,
            prompts={
                condition: self.encoder.encode_prompt(self.corrupt(example, condition, data, epoch))
                for condition in conditions
            },
            responses={name: self.encoder.encode_response(example.responses[name]) for name in names},
            columns={name: float(example.columns[name]) for name in self.columns},
            has_image=bool(example.images),
        )
        self._limit_length(row)
        return row

    def corrupt(self, example: Example, condition: str, data: Sequence[Example], epoch: int) -> Example:
        """The example under a condition.

        The same for policy and reference, and on every machine: all randomness is a function of the run's seed, the
        example's id and the draw. A row without an image has nothing to corrupt and stays as it is.
        """
        if condition == CLEAN or not example.images:
            return example
        corruption = self.corruptions[condition]
        draw = epoch if corruption.draw == "epoch" else 0
        return corruption.apply(example, random.Random(f"{self.seed}|{example.id}|{draw}"), data)

    def _require(self, example: Example) -> None:
        found = []
        for kind, needed, there in (
            ("response", dict.fromkeys(view.response for view in self.views), example.responses),
            ("column", self.columns, example.columns),
        ):
            found += [
                Problem(
                    f"example '{example.id}'",
                    "",
                    f"the objective needs the {kind} '{name}'; the data has {', '.join(there) or 'none'}",
                )
                for name in needed
                if name not in there
            ]
        if found:
            raise DataError(found)

    def _limit_length(self, row: EncodedRow) -> None:
        prompt = max(len(prompt.token_ids) for prompt in row.prompts.values())
        response = max(len(ids) for ids in row.responses.values())
        if prompt + response > self.max_length:
            raise DataError(
                [
                    Problem(
                        f"example '{row.id}'",
                        "",
                        f"{prompt} prompt tokens (image tokens included) and {response} response tokens are more "
                        f"than model.max_length = {self.max_length}; nothing is cut off: raise it or shorten the row",
                    )
                ]
            )
