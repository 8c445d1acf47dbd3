"""A stand-in for the hub on this machine: what huggingface_hub asks of it to create a repository and to upload."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

OWNER = "me"
_LARGE = ".safetensors"


class Hub:
    """What the stand-in holds. ``refuses``: the status code with which it answers to a path that matches."""

    def __init__(self) -> None:
        self.repositories: dict[str, bool] = {}  # whether each is private
        self.commits: dict[tuple[str, str], dict[str, bytes]] = {}  # files by repository and branch
        self.stored: dict[str, bytes] = {}  # large files by digest
        self.tokens: set[str] = set()
        self.refuses: dict[str, int] = {}
        self.address = ""

    def create(self, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        name = f"{asked.get('organization') or OWNER}/{asked['name']}"
        answer = {"url": f"{self.address}/{name}", "name": name}
        if name in self.repositories:
            return 409, {"error": "You already created this model repo", **answer}
        private = asked.get("private") or asked.get("visibility") == "private"
        self.repositories[name] = bool(private)
        return 200, answer

    def lfs(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Where each large file goes; none that is already there."""
        upload = [each for each in asked["objects"] if each["oid"] not in self.stored]
        actions = [{**each, "actions": {"upload": {"href": f"{self.address}/put/{each['oid']}"}}} for each in upload]
        return {"transfer": "basic", "objects": actions}

    def commit(self, name: str, branch: str, lines: list[dict[str, Any]]) -> dict[str, Any]:
        files = self.commits.setdefault((name, branch), {})
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.stored[value["oid"]]
        return {"commitUrl": f"{self.address}/{name}/commit/1", "commitOid": "1" * 40, "success": True}


class _Answers(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *_: object) -> None:
        pass

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().strip() or b"0", 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _say(self, code: int, content: Any = None) -> None:
        data = json.dumps(content or {}).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_PUT(self) -> None:
        data = self._body()
        self.hub.stored[hashlib.sha256(data).hexdigest()] = data
        self._say(200)

    def do_GET(self) -> None:
        name = self.path.removeprefix("/api/models/").partition("?")[0]
        if name not in self.hub.repositories:
            return self._say(404, {"error": "Repository not found"})
        return self._say(200, {"id": name, "modelId": name, "private": self.hub.repositories[name]})

    def do_POST(self) -> None:
        body = self._body()
        self.hub.tokens.add(self.headers.get("Authorization", ""))
        for pattern, code in self.hub.refuses.items():
            if re.search(pattern, self.path):
                return self._say(code, {"error": "no, said the hub"})
        return self._say(*self._answer(self.path.partition("?")[0], body))

    def _answer(self, path: str, body: bytes) -> tuple[int, Any]:
        if path == "/api/repos/create":
            return self.hub.create(json.loads(body))
        if path.endswith("/info/lfs/objects/batch"):
            return 200, self.hub.lfs(json.loads(body))
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        found = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(branch|preupload|commit)/(.+)", path)
        if found is None or found[1] not in self.hub.repositories:
            return 404, {"error": "Repository not found"}
        if found[2] == "preupload":
            modes = {True: "lfs", False: "regular"}
            asked = json.loads(body)["files"]
            return 200, {
                "files": [
                    {"path": each["path"], "uploadMode": modes[each["path"].endswith(_LARGE)], "shouldIgnore": False}
                    for each in asked
                ]
            }
        if found[2] == "commit":
            return 200, self.hub.commit(found[1], found[3], [json.loads(line) for line in body.splitlines()])
        return 200, {}


@contextmanager
def stand_in_hub() -> Iterator[Hub]:
    """The stand-in at work, on a port of this machine."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Answers", (_Answers,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
