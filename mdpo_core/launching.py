"""Several processes on one machine, by torch's elastic launcher."""

from __future__ import annotations

import logging
import os
import signal
import sys
import uuid
from collections.abc import Sequence

# A step and a checkpoint may take so long after a SIGTERM; a process that hangs is ended by the watch over it.
_TIME_TO_SAVE = 600
# Tells the processes how many of them this launcher was asked for.
PROCESSES = "MDPO_PROCESSES"


def launch(num_processes: int, arguments: Sequence[str]) -> int:
    """Run ``mdpo run ARGUMENTS`` in so many processes; gives the exit code of the first that failed, or 0.

    A signal is passed on to them. Each says itself what went wrong; of one that was killed, it is said here.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in logging.root.manager.loggerDict:
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    _share_the_machine(num_processes)
    os.environ[PROCESSES] = str(num_processes)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=num_processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        max_restarts=0,
        shutdown_timeout=_TIME_TO_SAVE,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "mdpo_core.cli", "run", *arguments)
    except SignalException as stopped:
        return 128 + int(stopped.sigval)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            return _killed(rank, -failure.exitcode)
        return int(failure.exitcode)
    return 0


def _killed(rank: int, number: int) -> int:
    name = signal.Signals(number).name
    why = ", most often for want of memory (the kernel's log says so)" if number == signal.SIGKILL else ""
    print(  # noqa: T201  # nobody else is left to say it
        f"process {rank} was ended by {name}{why}; the run can go on from its newest checkpoint, with --resume",
        file=sys.stderr,
    )
    return 1


def _share_the_machine(num_processes: int) -> None:
    """What processes on one machine must agree on, unless the user has decided otherwise."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // num_processes)))
    # Warnings of torch's own C++ code, which every process would print in the middle of the progress bar.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
