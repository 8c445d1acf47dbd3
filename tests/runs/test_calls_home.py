"""Nothing calls out unless a recipe names something on the hub: every command, without any variable that says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import Dataset
from support.paths import LLAVA_MDPO, ROOT

# Refuses and records each host that a program looks up or connects to, but for this machine.
GUARD = """
import json, socket, sys

CALLS = []
HERE = ("localhost", "127.0.0.1", "::1", socket.gethostname(), None)

def refuse(host):
    if host not in HERE:
        CALLS.append(str(host))
        raise OSError(f"the test refuses to call {host}")

look_up, connect = socket.getaddrinfo, socket.socket.connect
def guarded_look_up(host, *rest, **options):
    refuse(host)
    return look_up(host, *rest, **options)
def guarded_connect(self, address):
    refuse(address[0] if isinstance(address, tuple) else None)
    return connect(self, address)
socket.getaddrinfo, socket.socket.connect = guarded_look_up, guarded_connect
"""
PROGRAM = """
from mdpo_core.cli import main

for words in json.loads(sys.argv[1]):
    if main(words) != 0:
        sys.exit(f"failed: {words}")
print("called:", CALLS)
"""
OPEN = """
from mdpo_core import component

for path in json.loads(sys.argv[1]):
    component("reader", "pairs", path=path, image=None).open()
print("called:", CALLS)
"""


def run_guarded(program: str, argument: object) -> str:
    """The last line that the program prints, where the libraries may call whom they like."""
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_OFFLINE")}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, [ROOT, ROOT / "plugins"]))
    command = [sys.executable, "-c", GUARD + program, json.dumps(argument)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


def test_opening_a_file_or_a_folder_calls_nobody(pairs: Path, tmp_path: Path) -> None:
    """By itself, the library asks the hub to count its use, for local files, too."""
    table = Dataset.from_list([{"prompt": "Say A.", "chosen": "A", "rejected": "B"}])
    table.to_parquet(str(tmp_path / "pairs.parquet"))
    table.save_to_disk(str(tmp_path / "saved"))
    (tmp_path / "pairs.jsonl").write_text(json.dumps(table[0]))
    paths = [str(pairs), *(str(tmp_path / name) for name in ("pairs.parquet", "pairs.jsonl", "saved"))]
    assert run_guarded(OPEN, paths) == "called: []"


@pytest.mark.long
def test_no_command_calls_anybody(changes: list[str], tmp_path: Path) -> None:
    once = [*changes, "train.epochs=1", f"output.dir={tmp_path / 'run'}"]
    recipe = [str(LLAVA_MDPO), *(word for change in once for word in ("--set", change))]
    final, out = str(tmp_path / "run" / "final"), str(tmp_path / "merged")
    commands = [
        ["check", *recipe, "--data"],
        ["run", *recipe],
        ["export", str(tmp_path / "run"), "--merge", "--out", out],
        ["generate-rejected", *recipe, "--max-new-tokens", "4", "--out", str(tmp_path / "rejected.jsonl")],
        ["relabel", *recipe, "--policy", final, "--out", str(tmp_path / "scored.jsonl")],
    ]
    assert run_guarded(PROGRAM, commands) == "called: []"
