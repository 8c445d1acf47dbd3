"""A judge on loopback: a real HTTP server that speaks chat completions, and fails on request."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

MODEL = "judge-1"
REPLY = "Rating: 4, somewhat informative, no hallucination"


class Answered(NamedTuple):
    """What the server sends. ``seconds``: how long it waits first; ``dropped``: it closes the connection instead."""

    body: str
    status: int = 200
    seconds: float = 0.0
    dropped: bool = False
    retry_after: str | None = None


def completion(text: Any = REPLY, model: str | None = MODEL) -> Answered:
    """A chat completion."""
    choices = [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]
    return Answered(json.dumps({"id": "x", "object": "chat.completion", "model": model, "choices": choices}))


class JudgeServer:
    """``url``: its address. ``asked``: the bodies of all requests; ``headers``: theirs; ``most``: that were open.

    ``models``: what it lists; None if it lists nothing.
    """

    models: list[str] | None = None

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.open = self.most = 0
        self.lock = threading.Lock()

    @property
    def contents(self) -> list[str]:
        """The messages of all requests."""
        return [body["messages"][0]["content"] for body in self.asked]


Answering = Callable[[dict[str, Any], int], Answered]


@contextmanager
def judge_server(answer: Answering = lambda body, number: completion()) -> Iterator[JudgeServer]:
    """A server as long as the ``with`` lasts. ``answer``: called with a request and its number from 0."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    http.daemon_threads, http.block_on_close = True, False
    server = JudgeServer(f"http://127.0.0.1:{http.server_port}/v1")
    http.RequestHandlerClass = _handler(server, answer)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def _handler(server: JudgeServer, answer: Answering) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with server.lock:
                number = len(server.asked)
                server.asked.append(body)
                server.headers.append({name.lower(): value for name, value in self.headers.items()})
                server.paths.append(self.path)
                server.open += 1
                server.most = max(server.most, server.open)
            answered = answer(body, number)
            time.sleep(answered.seconds)
            with server.lock:
                server.open -= 1
            if answered.dropped:
                self.close_connection = True
                return
            self._send(answered)

        def do_GET(self) -> None:
            if server.models is None:
                self._send(Answered("no list here", status=404))
                return
            listed = [{"id": name, "object": "model", "created": 0, "owned_by": "me"} for name in server.models]
            self._send(Answered(json.dumps({"object": "list", "data": listed})))

        def _send(self, answered: Answered) -> None:
            data = answered.body.encode()
            self.send_response(answered.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            if answered.retry_after is not None:
                self.send_header("Retry-After", answered.retry_after)
            self.end_headers()
            with suppress(OSError):  # the client has gone
                self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler
