"""`mdpo answer --server` and a real `transformers serve` on loopback, with a small model on the disk."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from mdpo_core.cli import main

# The command `transformers`, without a look for a newer version of itself.
_PROGRAM = (
    "import sys; from transformers.cli.serve import Serve; Serve(sys.argv[1], port=int(sys.argv[2]), device='cpu')"
)


def _port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def served(llava: Path, tmp_path: Path) -> Iterator[str]:
    """The address of a server that answers by the small LLaVA."""
    port = _port()
    command = [sys.executable, "-c", _PROGRAM, str(llava), str(port)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "NO_PROXY": "*"}
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        until = time.monotonic() + 120
        while not _is_up(port):
            assert process.poll() is None, (tmp_path / "server.log").read_text()
            assert time.monotonic() < until, "the server did not start"
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()


def _is_up(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def _words(questions: Path, photographs: Path, out: Path, *model: str) -> list[str]:
    asked = ["--questions", str(questions), "--images", str(photographs), "--max-new-tokens", "8"]
    return ["answer", "pope", *model, *asked, "--out", str(out)]


def _responses(out: Path) -> list[str]:
    return [json.loads(line)["response"] for line in out.read_text().splitlines()]


def _kill_once_it_has_answered(command: list[str], partial: Path) -> None:
    process = subprocess.Popen([sys.executable, "-m", "mdpo_core.cli", *command], stdout=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < until:
        if partial.exists() and partial.stat().st_size:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.002)
    process.wait()


@pytest.mark.long
def test_a_served_model_answers_as_it_does_here_and_a_killed_command_goes_on_to_the_same_bytes(
    served: str, llava: Path, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    pictures = sorted(file.name for file in photographs.iterdir())
    rows = [
        {"question_id": number, "image": pictures[number % 8], "text": f"Is there a tree {number}?", "label": "yes"}
        for number in range(24)
    ]
    questions = tmp_path / "questions.json"
    questions.write_text("\n".join(map(json.dumps, rows)))
    by_server = ["--server", served, "--server-model", str(llava), "--batch-size", "3"]
    whole, stopped, here = (tmp_path / f"{name}.jsonl" for name in ("whole", "stopped", "here"))
    assert main(_words(questions, photographs, whole, *by_server)) == 0
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"model: {{adapter: llava, path: {llava}}}\nbackend: {{backend: local}}\n")
    assert main(_words(questions, photographs, here, "--model", str(recipe))) == 0
    assert _responses(whole) == _responses(here)
    assert len(set(_responses(whole))) > 1
    _kill_once_it_has_answered(
        _words(questions, photographs, stopped, *by_server), stopped.with_name(f"{stopped.name}.partial")
    )
    assert not stopped.exists()
    assert main(_words(questions, photographs, stopped, *by_server)) == 0
    assert stopped.read_bytes() == whole.read_bytes()
    assert main(["score", "pope", "--answers", str(whole), "--questions", str(questions)]) == 0
