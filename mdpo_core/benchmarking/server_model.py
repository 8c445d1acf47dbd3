"""A model behind a server answers a benchmark's questions."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Any

from mdpo_core.errors import RecipeError
from mdpo_core.interfaces.model import Decoding
from mdpo_core.remedies import option
from mdpo_core.servers.client import ChatServer
from mdpo_core.servers.messages import ChatRequest, Content, ending_of
from mdpo_core.types.example import Example
from mdpo_core.types.marks import MARK, unescape_marks
from mdpo_core.words.amounts import counted

if TYPE_CHECKING:
    from PIL.Image import Image

_ONE_TOKEN = {"temperature": 0.0, "max_tokens": 1}


@dataclass(frozen=True)
class ServerModel:
    """A model that is asked through a server. ``accepted``: the name of another one that may answer instead."""

    server: ChatServer
    name: str
    accepted: str | None
    decoding: Decoding

    @property
    def identity(self) -> Mapping[str, Any]:
        """The names of the models; not the server's address, which may change."""
        return {"server_model": self.name, "accepted": self.accepted}

    def check(self, example: Example) -> None:
        """Write the message about a question; sends nothing."""
        content_of(example)

    def answer(self, example: Example, stop: Event) -> str:
        """The answer to a question.

        Raises `RecipeError` if the server gives none, or another model's, and `RequestStopped` once ``stop`` is set.
        """
        completion, reply = self.server.ask(self._request(content_of(example), self._parameters()), stop)
        if not reply.is_of(self.name, self.accepted):
            accept = option(f"--server-accept {reply.model}")
            raise RecipeError(
                f"the model '{self.name}' was asked for, but '{reply.model}' answered; if that will do, add {accept}"
            )
        ending = ending_of(completion)
        if not reply.text.strip() and ending != "stop":
            longer = f"; allow more tokens with {option('--max-new-tokens N')}" if ending == "length" else ""
            raise RecipeError(
                f"'{self.name}' answered the question '{example.id}' with an empty text, which ended by "
                f"'{ending}'{longer}"
            )
        return reply.text.strip()

    def require_pictures(self, example: Example, stop: Event) -> None:
        """Raise `RecipeError` if the server does not take pictures, or passes over the one of this question."""
        whole = content_of(example)
        assert isinstance(whole, list), "the question has a picture"
        with_picture, text = self._request(whole, _ONE_TOKEN), self._request(text_in(whole), _ONE_TOKEN)
        without = self.server.num_prompt_tokens(text, stop)
        try:
            count = self.server.num_prompt_tokens(with_picture, stop)
        except RecipeError as error:
            raise RecipeError(f"'{self.name}' takes text, but no picture: {error}") from error
        if count is not None and count == without:
            raise RecipeError(
                f"'{self.name}' does not look at pictures: the server counts {counted(count, 'token')} in the question "
                f"'{example.id}', with its picture and without it"
            )

    def _request(self, content: Content, parameters: Mapping[str, Any]) -> ChatRequest:
        return ChatRequest(self.name, "user", content, parameters)

    def _parameters(self) -> dict[str, Any]:
        found = {"temperature": self.decoding.temperature, "max_tokens": self.decoding.max_new_tokens}
        if self.decoding.temperature:
            found |= {"top_p": self.decoding.top_p, "seed": self.decoding.seed}
        return found


def model_on(server: ChatServer, name: str | None, accepted: str | None, decoding: Decoding) -> ServerModel:
    """A server's model; without a ``name`` the only one that it lists. Raises `RecipeError` if it is not known."""
    if name is None:
        listed = server.models()
        if len(listed) != 1:
            found = f"lists {len(listed)} models ({', '.join(listed[:10])})" if listed else "lists no model"
            raise RecipeError(f"the server at {server.address.base} {found}; add {option('--server-model NAME')}")
        [name] = listed
    return ServerModel(server, name, accepted, decoding)


def content_of(example: Example) -> Content:
    """A question as chat completions have it: a text, or parts if it has pictures, which are PNGs in data URLs."""
    assert isinstance(example.prompt, str), "a benchmark asks one question at a time"
    pieces = [unescape_marks(piece.strip("\n")) for piece in MARK.split(example.prompt)]
    if not example.images:
        return pieces[0]
    parts: list[dict[str, Any]] = [{"type": "text", "text": pieces[0]}] if pieces[0] else []
    for image, text in zip(example.images, pieces[1:], strict=True):
        parts.append({"type": "image_url", "image_url": {"url": _data_url(image)}})
        parts += [{"type": "text", "text": text}] if text else []
    return parts


def text_in(parts: Sequence[Mapping[str, Any]]) -> str:
    """The texts of a message without its pictures."""
    return "\n".join(part["text"] for part in parts if part["type"] == "text")


def _data_url(image: Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)  # the same pixels in half the time, and 5 % larger
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
