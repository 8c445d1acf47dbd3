"""One measurement: ``python -m benchmarks.speed.worker JOB RESULT`` reads a `Job` and writes a `Result`, both JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import warnings
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}

from benchmarks.speed.job import Job, Result


def main(job: Job) -> Result:
    import torch

    warnings.simplefilter("ignore")
    try:
        return _run(job)
    except torch.OutOfMemoryError:
        return Result(error="out of the device's memory")


def _run(job: Job) -> Result:
    match job.contestant:
        case "folder":
            from benchmarks.speed.model import build

            build(Path(job.folder), job.shape, job.device)
            return Result()
        case "matrix":
            from benchmarks.speed.measure import machine, matrix_rate

            return Result(flops_per_second=matrix_rate(job.device), machine=machine(job.device))
        case "paper":
            from benchmarks.speed.contestants import paper

            return paper.run(job)
        case "dropout":
            from benchmarks.speed.contestants import dropout

            return dropout.run(job)
        case "run":
            from benchmarks.speed.contestants import whole_run

            return whole_run.measure(job)
        case "trl":
            from benchmarks.speed.contestants import trl_dpo

            return trl_dpo.run(job)
        case _:
            from benchmarks.speed.contestants import ours

            return ours.run(job)


if __name__ == "__main__":
    given, wanted = map(Path, sys.argv[1:])
    result = main(Job.from_dict(json.loads(given.read_text())))
    wanted.write_text(json.dumps(dataclasses.asdict(result)))
