"""Starts the processes of a job, and builds the model that they train."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from job import Found, Job

WORKER = Path(__file__).with_name("worker.py")
sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))


def build_model(folder: Path) -> Path:
    """A LLaVA of sixteen million weights: large enough for what is sent besides numbers to vanish."""
    from small_llava import build_llava

    return build_llava(folder, hidden=512, layers=4)


def run(job: Job) -> list[Found]:
    """What each rank found."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps(dataclasses.asdict(job)))
        port = _free_port()
        processes = [
            subprocess.Popen(
                [sys.executable, WORKER, folder / "job.json", folder],
                env=_environment(rank, job.world, port),
                stdout=subprocess.DEVNULL,
                stderr=(folder / f"{rank}.err").open("w"),
            )
            for rank in range(job.world)
        ]
        failed = [rank for rank, process in enumerate(processes) if process.wait()]
        if failed:
            raise RuntimeError("\n".join((folder / f"{rank}.err").read_text()[-4000:] for rank in failed))
        return [Found(**json.loads((folder / f"{rank}.json").read_text())) for rank in range(job.world)]


def _environment(rank: int, world: int, port: int) -> dict[str, str]:
    return os.environ | {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
    }


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
