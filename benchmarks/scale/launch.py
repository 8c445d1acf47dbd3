"""Starts the processes of a job, and builds the model that they train."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.scale.job import Found, Job

WORKER = "benchmarks.scale.worker"
sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))


def build_model(folder: Path) -> Path:
    """A LLaVA of sixteen million weights: large enough for what is sent besides numbers to vanish."""
    from support.builders.small_llava import build_llava

    return build_llava(folder, hidden=512, layers=4)


def run_all(jobs: Sequence[Job]) -> list[list[Found]]:
    """What each rank found in each job; all jobs are of one number of processes."""
    world = jobs[0].world
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "jobs.json").write_text(json.dumps([(dataclasses.asdict(job), _free_port()) for job in jobs]))
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", WORKER, folder / "jobs.json", folder],
                env=_environment(rank, world),
                stdout=subprocess.DEVNULL,
            )
            for rank in range(world)
        ]
        for process in processes:
            process.wait()
        return [_found(folder, number, job) for number, job in enumerate(jobs)]


def _found(folder: Path, number: int, job: Job) -> list[Found]:
    files = [folder / f"{number}-{rank}.json" for rank in range(job.world)]
    if not all(file.is_file() for file in files):
        raise RuntimeError(f"{job} failed; its processes have said why")
    return [Found(**json.loads(file.read_text())) for file in files]


def _environment(rank: int, world: int) -> dict[str, str]:
    return os.environ | {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1",
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
    }


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
