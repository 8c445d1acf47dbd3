"""A judge that is asked many questions: several at once, none twice, and only if the right model answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from threading import Event

from mdpo_benchmarks.judging.cache import ReplyCache
from mdpo_core import ChatReply, ChatRequest, ChatServer, RecipeError, RequestStopped


@dataclass(frozen=True)
class Judge:
    """Asks a server, and keeps the replies.

    ``accepted``: the name of a model that may answer instead of the one that is asked for. ``parallel``: requests at
    once.
    """

    server: ChatServer
    cache: ReplyCache
    accepted: str | None
    parallel: int

    def ask(self, requests: Sequence[ChatRequest]) -> list[ChatReply]:
        """The reply to each request, in their order.

        Raises `RecipeError` if the judge cannot be reached or is another model; what it replied until then is kept.
        """
        missing = {request.key: request for request in requests if self._kept(request) is None}
        if missing:
            with self.cache:
                self._ask_for(list(missing.values()), len({request.key for request in requests}))
        kept = [self._kept(request) for request in requests]
        return [reply for reply in kept if reply is not None]

    def ask_until(
        self, requests: Sequence[ChatRequest], is_of_use: Callable[[str], bool], most: int
    ) -> list[list[ChatReply]]:
        """The replies to each request: its message is sent until a reply is of use, ``most`` times at the most.

        The last one may still be of no use.
        """
        replies: list[list[ChatReply]] = [[] for _ in requests]
        pending = list(range(len(requests)))
        for attempt in range(most):
            again = [_attempt_of(requests[index], attempt) for index in pending]
            for index, reply in zip(pending, self.ask(again), strict=True):
                replies[index].append(reply)
            pending = [index for index in pending if not is_of_use(replies[index][-1].text)]
        return replies

    def _kept(self, request: ChatRequest) -> ChatReply | None:
        """The newest reply that is there, of the right model."""
        replies = self.cache.replies_to(request)
        return next((reply for reply in reversed(replies) if self._is_right(request, reply)), None)

    def _is_right(self, request: ChatRequest, reply: ChatReply) -> bool:
        return reply.is_of(request.model, self.accepted)

    def _ask_for(self, requests: Sequence[ChatRequest], num_all: int) -> None:
        """Ask for replies that are missing; at the first failure no more requests are begun."""
        stop = Event()
        pool = ThreadPoolExecutor(self.parallel, thread_name_prefix="judge")
        futures = [pool.submit(self._ask_one, request, stop) for request in requests]
        try:
            failed = next((error for each in as_completed(futures) if (error := each.exception()) is not None), None)
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)  # waits for those that were sent: they are paid for
        if isinstance(failed, RecipeError):
            missing = sum(self._kept(request) is None for request in requests)
            raise RecipeError(f"{failed}; {self._state(num_all - missing, num_all)}") from failed
        if failed is not None:
            raise failed

    def _state(self, num_kept: int, num_all: int) -> str:
        return (
            f"{num_kept:,} of {num_all:,} replies are kept in '{self.cache.path}', and the same command asks for the "
            "others alone"
        )

    def _ask_one(self, request: ChatRequest, stop: Event) -> None:
        """Ask, and keep the reply. Sets ``stop`` if that fails, and does nothing once it is set."""
        if stop.is_set():
            return
        try:
            self._ask_and_keep(request, stop)
        except RequestStopped:
            return  # another request has failed, and its error is the one to tell
        except BaseException:
            stop.set()
            raise

    def _ask_and_keep(self, request: ChatRequest, stop: Event) -> None:
        completion, reply = self.server.ask(request, stop)
        self.cache.add(request, completion, reply)
        if not self._is_right(request, reply):
            raise RecipeError(
                f"the judge '{request.model}' was asked for, but '{reply.model}' answered; if that will do, add "
                f"--judge-accept {reply.model}"
            )


def _attempt_of(request: ChatRequest, attempt: int) -> ChatRequest:
    return ChatRequest(request.model, request.role, request.content, request.parameters, attempt)
