"""Hypothesis strategies for the values that components see."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from mdpo_core.types.example import Box, Example
from mdpo_core.types.marks import IMAGE_MARK
from mdpo_core.types.scores import ResponseTokens, ScorerOutput, Scores, TokenLogProbs
from mdpo_core.types.view import View

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

Columns = Mapping[str, st.SearchStrategy[float]]
# One draw for all tokens of a response: drawing each of them would take most of a contract's time.
_SEEDS = st.integers(0, 2**32 - 1)
_LOWEST = st.floats(-100, -0.001)


@st.composite
def images(draw: st.DrawFn, max_side: int = 40) -> Image:
    """RGB images from 1x1 up, of any proportions: noise, or a single colour."""
    import PIL.Image

    size = (draw(st.integers(1, max_side)), draw(st.integers(1, max_side)))
    if draw(st.booleans()):
        return PIL.Image.new("RGB", size, draw(st.tuples(*[st.integers(0, 255)] * 3)))
    return noise(size, draw(st.integers(0, 1000)))


def noise(size: tuple[int, int], seed: int) -> Image:
    """An RGB image of random pixels."""
    import PIL.Image

    width, height = size
    return PIL.Image.frombytes("RGB", size, random.Random(seed).randbytes(3 * width * height))


def with_others(example: Example) -> Example:
    """Add other images and another prompt (``other``), a vector (``embedding``) and boxes (``regions``).

    Of several images, those behind the first one become the frames of a video.
    """
    rng = random.Random(example.id)
    sizes = [image.size for image in example.images]
    return replace(
        example,
        other_images={"other": tuple(noise((width, height), rng.randrange(10**6)) for width, height in sizes)},
        other_prompts={"other": "USER: " + f"{IMAGE_MARK}\n" * len(sizes) + "what else is there ? ASSISTANT:"},
        vectors={"embedding": tuple(rng.gauss(0, 1) for _ in range(4))},
        boxes={"regions": tuple((Box(0, 0, (width + 1) // 2, (height + 1) // 2),) for width, height in sizes)},
        videos=(range(1, len(sizes)),) if len(sizes) > 1 else (),
        frame_times=(tuple(float(second) for second in range(1, len(sizes))),) if len(sizes) > 1 else (),
    )


_WORDS = st.lists(st.sampled_from(["a", "the", "red", "tree", "two", "dogs"]), min_size=1, max_size=6).map(" ".join)


@st.composite
def examples(
    draw: st.DrawFn,
    num_images: int | None = None,
    responses: Sequence[str] = ("chosen", "rejected"),
    columns: Columns | None = None,
) -> Example:
    """Valid rows: distinct responses, and one mark in the prompt for each image (none to two by default).

    They also have the fields that `with_others` adds.
    """
    count = draw(st.integers(0, 2)) if num_images is None else num_images
    pictures = tuple(draw(images()) for _ in range(count))
    texts = draw(st.lists(_WORDS, min_size=len(responses), max_size=len(responses), unique=True))
    example = Example(
        id=str(draw(st.integers(0, 10**6))),
        prompt="USER: " + f"{IMAGE_MARK}\n" * len(pictures) + draw(_WORDS) + " ASSISTANT:",
        responses=dict(zip(responses, texts, strict=True)),
        images=pictures,
        columns={name: draw(values) for name, values in (columns or {}).items()},
    )
    return with_others(example)


@st.composite
def scores(
    draw: st.DrawFn, views: Iterable[View | str], columns: Columns | None = None, indifferent: bool = False
) -> Scores:
    """Scores of one to four pairs in float64: one to four tokens of 0 to -100 nats, in one or two turns.

    Views of one response have the same tokens. With ``indifferent`` the reference equals the policy.
    ``columns`` says which values each column may have.
    """
    import torch

    names = list(dict.fromkeys(View.parse(view) for view in views))
    num_rows = draw(st.integers(1, 4))
    lengths = {
        response: draw(st.lists(st.integers(1, 4), min_size=num_rows, max_size=num_rows))
        for response in dict.fromkeys(view.response for view in names)
    }
    policy = {view: draw(_tokens(lengths[view.response])) for view in names}
    reference = policy if indifferent else {view: draw(_tokens(lengths[view.response])) for view in names}
    rows = {name: st.lists(values, min_size=num_rows, max_size=num_rows) for name, values in (columns or {}).items()}
    responses = {response: draw(_responses(numbers)) for response, numbers in lengths.items()}
    return Scores.from_tokens(
        ScorerOutput(policy, dict(reference)),
        torch.ones(num_rows, dtype=torch.bool),
        {name: torch.tensor(draw(values), dtype=torch.float64) for name, values in rows.items()},
        {view: responses[view.response] for view in names},
    )


@st.composite
def _responses(draw: st.DrawFn, lengths: Sequence[int]) -> ResponseTokens:
    """Ids of few different tokens, so that responses share some, and a second turn that begins anywhere."""
    from torch import long, tensor
    from torch.nn.utils.rnn import pad_sequence

    rng = random.Random(draw(_SEEDS))
    ids = [[rng.randint(1, 4) for _ in range(length)] for length in lengths]
    first = [rng.randint(1, length) for length in lengths]
    turns = [[1] * begin + [2] * (length - begin) for begin, length in zip(first, lengths, strict=True)]
    padded = [pad_sequence([tensor(row, dtype=long) for row in rows], batch_first=True) for rows in (ids, turns)]
    return ResponseTokens(*padded)


@st.composite
def _tokens(draw: st.DrawFn, lengths: Sequence[int]) -> TokenLogProbs:
    """Log-probs down to a number of nats. With the seed 0, to which failing cases shrink, each token has this many."""
    lowest, seed = draw(_LOWEST), draw(_SEEDS)
    rng = random.Random(seed)
    return token_log_probs([[rng.uniform(lowest, -0.001) if seed else lowest for _ in range(n)] for n in lengths])


def token_log_probs(rows: Sequence[Sequence[float]]) -> TokenLogProbs:
    """Padded log-probs, float64. ``rows``: the log-probs of each response, token by token."""
    import torch

    longest = max(map(len, rows))
    values = torch.tensor([[*row, *[0.0] * (longest - len(row))] for row in rows], dtype=torch.float64)
    lengths = torch.tensor([len(row) for row in rows])
    mask: Tensor = torch.arange(longest) < lengths[:, None]
    return TokenLogProbs(values, mask)
