"""Two nodes: two network namespaces on this machine, with a cable between them that can be cut."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from support.processes.launching import RECIPE, records, require_same_training

from mdpo_core import load_recipe, run

pytestmark = [
    pytest.mark.nightly(reason="two minutes of waiting; on one node, test_processes kills processes within seconds"),
    pytest.mark.timeout(600),
]
ADDRESS = "10.77.0.{}"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def nodes() -> Iterator[list[str]]:
    """The names of two namespaces that see each other and nothing else."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("network namespaces need root and iproute2")
    names = [f"mdpo{os.getpid()}n{number}" for number in range(2)]
    cables = [f"mdpo{os.getpid() % 10**6}v{number}" for number in range(2)]
    try:
        for name in names:
            ip("netns", "add", name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"network namespaces cannot be made here: {error.stderr.decode().strip()}")
    try:
        ip("link", "add", cables[0], "type", "veth", "peer", "name", cables[1])
        for number, (name, cable) in enumerate(zip(names, cables, strict=True)):
            ip("link", "set", cable, "netns", name)
            ip("-n", name, "link", "set", cable, "name", "cable")
            ip("-n", name, "addr", "add", f"{ADDRESS.format(number + 1)}/24", "dev", "cable")
            for device in ("cable", "lo"):
                ip("-n", name, "link", "set", device, "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False)


def start(nodes: Sequence[str], changes: Sequence[str], folder: Path, *more: str) -> list[subprocess.Popen[str]]:
    """The same command on each node, but for its number: two processes on either."""
    started = []
    for number, node in enumerate(nodes):
        words = [
            *("ip", "netns", "exec", node, sys.executable, "-m", "torch.distributed.run"),
            *("--nnodes", "2", "--node-rank", str(number), "--nproc-per-node", "2"),
            *("--master-addr", ADDRESS.format(1), "--master-port", "29700"),
            *("-m", "mdpo_core.cli", "run", str(RECIPE), "--run-dir", str(folder), *more),
            *(word for change in changes for word in ("--set", change)),
        ]
        environment = {**os.environ, "GLOO_SOCKET_IFNAME": "cable"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(words, env=environment, **pipes))  # type: ignore[call-overload]
    return started


def end(processes: Sequence[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """Exit codes, and what was said in vain."""
    return [(process.returncode, err) for process, (_, err) in [(each, each.communicate()) for each in processes]]


def test_a_run_on_two_nodes_outlives_a_cut_of_the_network(nodes: list[str], changes: list[str], tmp_path: Path) -> None:
    # Four processes of one pair each; long enough to be cut in the middle.
    same = [*changes, "train.micro_batch_size=1", "train.epochs=60", "output.save_every=10", "trackers=[]"]
    folder = tmp_path / "cut"
    processes = start(nodes, same, folder)
    while len(records(folder)) < 20 and all(process.poll() is None for process in processes):
        time.sleep(0.05)
    ip("-n", nodes[1], "link", "set", "cable", "down")
    cut = time.monotonic()
    (first, told), (second, also_told) = end(processes)
    assert time.monotonic() - cut < 60
    assert first != 0
    assert second != 0
    assert "process 2 has given no sign of life" in told
    assert "the run's first node has not answered" in also_told
    assert "the network is cut" in told
    assert "the network is cut" in also_told
    assert not (folder / "final").exists()

    ip("-n", nodes[1], "link", "set", "cable", "up")
    assert [code for code, _ in end(start(nodes, same, folder, "--resume"))] == [0, 0]
    run(load_recipe(RECIPE, same), run_dir=tmp_path / "one")
    require_same_training(folder, tmp_path / "one", 1e-4)
