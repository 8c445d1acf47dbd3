"""A client of servers that speak OpenAI's chat completions, which waits for what may go better later."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from mdpo_core.errors import RecipeError
from mdpo_core.remedies import option
from mdpo_core.servers.messages import ChatReply, ChatRequest, UnusableReply, ending_of, reply_in
from mdpo_core.words.amounts import counted

if TYPE_CHECKING:
    from openai import APIStatusError, OpenAI

Result = TypeVar("Result")

_LOG = logging.getLogger(__name__)
_LONGEST_WAIT = 60.0  # seconds between two attempts
# The server asks to come back later: time-out, conflict, too early, too many requests; and all faults of its own.
_LATER = {408, 409, 425, 429}
DEFAULT_KEY = "OPENAI_API_KEY"  # the environment variable
_COMPLETIONS = "/chat/completions"


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for: seconds for a reply, retries, and seconds before the first, doubled for each."""

    timeout: float
    retries: int
    wait: float


@dataclass(frozen=True)
class ServerAddress:
    """Where a server is. ``key_variable``: the environment variable with its key.

    ``who`` and ``flag`` stand in messages: ``the judge``, and ``judge``, the name of the option with the address, with
    which the names of its other options begin.
    """

    url: str
    key_variable: str = DEFAULT_KEY
    who: str = "the server"
    flag: str = "server"

    @property
    def base(self) -> str:
        """The address before ``/chat/completions``."""
        return self.url.rstrip("/").removesuffix(_COMPLETIONS)

    def key(self) -> str:
        """The key; empty without one. Raises `RecipeError` for an address or a key that cannot be one."""
        if not _is_address(self.base):
            raise RecipeError(
                f"{option(f'--{self.flag}')}: '{self.base}' is no address of a server; it begins with http:// or https://"
            )
        key = os.environ.get(self.key_variable, "").strip()
        if not key and self.key_variable != DEFAULT_KEY:
            flag = option(f"--{self.flag}-key-env")
            raise RecipeError(f"{flag}: the environment variable {self.key_variable} is not set")
        if not (key.isascii() and key.isprintable()):
            raise RecipeError(f"the environment variable {self.key_variable} has characters that no key has")
        return key


def _is_address(url: str) -> bool:
    try:
        found = urlsplit(url)
        port = found.port  # reading it checks it
    except ValueError:
        return False
    return found.scheme in ("http", "https") and bool(found.hostname) and port != 0


class RequestStopped(Exception):
    """A request that is not sent again, since another one has failed."""


class Unanswered(Exception):
    """One attempt that may go better later. ``wait``: the seconds that the server asks for."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class ChatServer:
    """Posts requests to ``{base}/chat/completions``. Several threads may use it.

    ``may_be_empty``: whether an empty text is a reply if the server says why it ends.
    """

    def __init__(self, address: ServerAddress, patience: Patience, *, may_be_empty: bool = False) -> None:
        """Raises `RecipeError` if the address, the key or the library is missing or wrong."""
        self.address = address
        self._patience = patience
        self._may_be_empty = may_be_empty
        openai = imported(address.flag)
        # Servers on one's own machine need no key, but the library does.
        self._client: OpenAI = openai.OpenAI(
            base_url=address.base, api_key=address.key() or "none", timeout=patience.timeout, max_retries=0
        )

    def ask(self, request: ChatRequest, stop: Event) -> tuple[Any, ChatReply]:
        """The chat completion, and the reply in it.

        Retries, with longer and longer waits, what may go better later. Raises `RecipeError` if nothing helps, or
        `RequestStopped` as soon as ``stop`` is set.
        """
        return self._patiently(lambda: self._attempt(request), stop)

    def num_prompt_tokens(self, request: ChatRequest, stop: Event) -> int | None:
        """How many tokens the server counts in a request; None if it does not say so. Raises like `ask`."""
        usage = self._patiently(lambda: self._completion(request), stop).get("usage")
        count = usage.get("prompt_tokens") if isinstance(usage, dict) else None
        return count if isinstance(count, int) else None

    def _patiently(self, attempt: Callable[[], Result], stop: Event) -> Result:
        wait = self._patience.wait
        for number in range(self._patience.retries + 1):
            try:
                return attempt()
            except Unanswered as error:
                reason = str(error)
                pause = min(max(wait, error.wait), _LONGEST_WAIT)
            wait *= 2
            if number < self._patience.retries:
                _LOG.warning("%s %s; asked again in %.3g s", self.address.who, reason, pause)
                if stop.wait(pause):
                    raise RequestStopped
        times = self._patience.retries + 1
        raise RecipeError(f"{self._who} was asked {counted(times, 'time')} and {reason}")

    def models(self) -> list[str]:
        """The names of the models that the server lists. Raises `RecipeError` if it does not."""
        openai = imported(self.address.flag)
        try:
            return [str(model.id) for model in self._client.models.list().data]
        except openai.APIConnectionError as error:
            raise RecipeError(f"{self._who} could not be reached: {_root_of(error)}") from error
        except (openai.OpenAIError, ValueError, AttributeError, TypeError) as error:
            name = option(f"--{self.address.flag}-model NAME")
            raise RecipeError(f"{self._who} does not list its models ({_one_line(str(error))}); add {name}") from error

    @property
    def _who(self) -> str:
        return f"{self.address.who} at {self.address.base}"

    def _attempt(self, request: ChatRequest) -> tuple[Any, ChatReply]:
        completion = self._completion(request)
        try:
            reply = reply_in(completion)
            if not reply.text.strip() and not (self._may_be_empty and ending_of(completion)):
                raise UnusableReply("an empty text")
            if reply.model is None:
                raise UnusableReply("no name of the model that answered")
        except UnusableReply as error:
            raise Unanswered(f"replied with {error}") from error
        return completion, reply

    def _completion(self, request: ChatRequest) -> dict[str, Any]:
        text = self._posted(request)
        try:
            completion = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Unanswered(f"replied with {text[:40]!r}, which is not JSON") from error
        if not isinstance(completion, dict):
            raise Unanswered(f"replied with {text[:40]!r}, which is not a chat completion")
        return completion

    def _posted(self, request: ChatRequest) -> str:
        """The body of the server's reply."""
        openai = imported(self.address.flag)
        create: Any = self._client.chat.completions.with_raw_response.create  # the parameters are not known by name
        try:
            response = create(model=request.model, messages=request.messages, **request.parameters)
            text: str = response.text
        except openai.APITimeoutError as error:
            raise Unanswered(f"did not reply in {self._patience.timeout:g} s") from error
        except openai.APIConnectionError as error:
            raise Unanswered(f"could not be reached: {_root_of(error)}") from error
        except openai.APIStatusError as error:
            raise self._refusal(error) from error
        return text

    def _refusal(self, error: APIStatusError) -> Exception:
        said = f"replied with the HTTP status {error.status_code}: {_one_line(error.response.text)}"
        if error.status_code in _LATER or error.status_code >= 500:
            return Unanswered(said, _seconds(error.response.headers.get("retry-after")))
        hint = ""
        if error.status_code in (401, 403):
            variable, other = self.address.key_variable, option(f"--{self.address.flag}-key-env NAME")
            state = "has a key that the server does not accept" if os.environ.get(variable) else "is not set"
            hint = f"; the environment variable {variable} {state}; put the key there, or name another one with {other}"
        return RecipeError(f"{self._who} {said}{hint}")


def imported(flag: str) -> Any:
    """The library. Raises `RecipeError` if it is not installed. ``flag``: the option that needs it."""
    try:
        import openai
    except ImportError as error:
        said = f"needs openai, which is not installed: pip install 'mdpo[{flag}]'"
        raise RecipeError(f"{option(f'--{flag}')} {said}") from error
    return openai


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200] or "no text"


def _root_of(error: BaseException) -> str:
    """What is at the bottom of an error, which the library calls a connection error."""
    while error.__cause__ is not None:
        error = error.__cause__
    return _one_line(str(error) or type(error).__name__)


def _seconds(header: str | None) -> float:
    """The seconds in a header; 0 without one, or for one with a date."""
    try:
        return float(header or 0)
    except ValueError:
        return 0.0
