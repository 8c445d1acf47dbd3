"""A judge behind a server that speaks OpenAI's chat completions."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Any

from mdpo_benchmarks.judging.requests import Reply, Request, Unusable, reply_in
from mdpo_core import RecipeError

if TYPE_CHECKING:
    from openai import APIStatusError, OpenAI

_LOG = logging.getLogger(__name__)
_LONGEST_WAIT = 60.0  # seconds between two attempts
# The server asks to come back later: time-out, conflict, too early, too many requests; and all faults of its own.
_LATER = {408, 409, 425, 429}
DEFAULT_KEY = "OPENAI_API_KEY"  # the environment variable
_COMPLETIONS = "/chat/completions"


@dataclass(frozen=True)
class Patience:
    """How long a judge is waited for: seconds for a reply, retries, and seconds before the first, doubled for each."""

    timeout: float
    retries: int
    wait: float


class Stopped(Exception):
    """A request that is not sent again, since another one has failed."""


class Unanswered(Exception):
    """One attempt that may go better later. ``wait``: the seconds that the server asks for."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class Server:
    """Posts requests to ``{base}/chat/completions``. Several threads may use it."""

    def __init__(self, base: str, key_variable: str, patience: Patience) -> None:
        """``key_variable``: the environment variable with the key. Raises `RecipeError` for an address or a key."""
        self.base = base.rstrip("/").removesuffix(_COMPLETIONS)
        self._key_variable = key_variable
        self._patience = patience
        self._client = self._connected()

    def _connected(self) -> OpenAI:
        if not self.base.startswith(("http://", "https://")):
            raise RecipeError(f"--judge: '{self.base}' is no address of a server; it begins with http:// or https://")
        key = os.environ.get(self._key_variable, "").strip()
        if not key and self._key_variable != DEFAULT_KEY:
            raise RecipeError(f"--judge-key-env: the environment variable {self._key_variable} is not set")
        if not (key.isascii() and key.isprintable()):
            raise RecipeError(f"the environment variable {self._key_variable} has characters that no key has")
        # Servers on one's own machine need no key, but the library does.
        client: OpenAI = imported().OpenAI(
            base_url=self.base, api_key=key or "none", timeout=self._patience.timeout, max_retries=0
        )
        return client

    def ask(self, request: Request, stop: Event) -> tuple[Any, Reply]:
        """The chat completion, and the reply in it.

        Retries, with longer and longer waits, what may go better later. Raises `RecipeError` if nothing helps, or
        `Stopped` as soon as ``stop`` is set.
        """
        wait = self._patience.wait
        for attempt in range(self._patience.retries + 1):
            try:
                return self._attempt(request)
            except Unanswered as error:
                reason = str(error)
                pause = min(max(wait, error.wait), _LONGEST_WAIT)
            wait *= 2
            if attempt < self._patience.retries:
                _LOG.warning("the judge %s; asked again in %.3g s", reason, pause)
                if stop.wait(pause):
                    raise Stopped
        times = self._patience.retries + 1
        raise RecipeError(f"the judge at {self.base} was asked {times} time{'s' * (times > 1)} and {reason}")

    def _attempt(self, request: Request) -> tuple[Any, Reply]:
        text = self._posted(request)
        try:
            completion = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Unanswered(f"replied with {text[:40]!r}, which is not JSON") from error
        try:
            reply = reply_in(completion)
            if not reply.text.strip():
                raise Unusable("an empty text")
            if reply.model is None:
                raise Unusable("no name of the model that answered")
        except Unusable as error:
            raise Unanswered(f"replied with {error}") from error
        return completion, reply

    def _posted(self, request: Request) -> str:
        """The body of the server's reply."""
        openai = imported()
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
            state = "is the key in" if os.environ.get(self._key_variable) else "there is no key in"
            hint = f"; {state} the environment variable {self._key_variable} (another one: --judge-key-env NAME)"
        return RecipeError(f"the judge at {self.base} {said}{hint}")


def imported() -> Any:
    """The library. Raises `RecipeError` if it is not installed."""
    try:
        import openai
    except ImportError as error:
        raise RecipeError('--judge needs openai, which is not installed: pip install "mdpo[judge]"') from error
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
