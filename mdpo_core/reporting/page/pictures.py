"""Pictures inside of a page: small, and as data URIs, so that the page is one file."""

from __future__ import annotations

import io
from base64 import b64encode
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from PIL.Image import Image

_SIDE = 360  # pixels of the longer side at most
_QUALITY = 82
_SHORTEST = 2  # pixels of the shorter side, so that a strip can be seen


class Shown(NamedTuple):
    """A picture as the page has it. ``width`` and ``height`` are those of the picture itself."""

    uri: str
    width: int
    height: int

    @property
    def is_tiny(self) -> bool:
        """Whether its pixels are to be seen as squares."""
        return max(self.width, self.height) <= 96


def shown(picture: Image) -> Shown:
    """The picture, with a longer side of at most 360 pixels."""
    width, height = picture.size
    scale = min(1.0, _SIDE / max(width, height))
    size = (max(_SHORTEST, round(width * scale)), max(_SHORTEST, round(height * scale)))
    small = picture.convert("RGB")
    small = small if small.size == size else small.resize(size)
    file = io.BytesIO()
    if max(width, height) <= 96:  # a JPEG would blur the pixels
        small.save(file, "PNG")
        kind = "png"
    else:
        small.save(file, "JPEG", quality=_QUALITY)
        kind = "jpeg"
    return Shown(f"data:image/{kind};base64,{b64encode(file.getvalue()).decode()}", width, height)


def figure_html(picture: Shown) -> str:
    """The picture as HTML, with its size below."""
    size = f"{picture.width} x {picture.height}"
    tiny = " class=tiny" if picture.is_tiny else ""
    return f'<figure><img{tiny} src="{picture.uri}" alt="{size} pixels"><figcaption>{size}</figcaption></figure>'
