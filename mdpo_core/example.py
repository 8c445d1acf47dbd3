"""A row of preference data, as a reader gives it and a corruption changes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_MARK = "<image>"


@dataclass(frozen=True)
class Example:
    """A prompt with its images and the responses that are compared.

    ``prompt`` holds one ``<image>`` mark for each of ``images``, in order. ``id`` is stable over runs: it seeds the
    corruption and names the row in messages. ``columns`` are numbers that a term may ask for.
    """

    id: str
    prompt: str
    responses: Mapping[str, str]
    images: tuple[Image, ...] = ()
    columns: Mapping[str, float] = field(default_factory=dict)
