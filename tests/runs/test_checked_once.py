"""Runs over rows that were checked before: equal to the byte to a run that checked them itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import NoReturn

import pytest
from support.processes.launching import contents
from support.runs import train

from mdpo_core.data import reading
from mdpo_core.training.trainer import Trainer


def no_check(*arguments: object) -> NoReturn:
    raise AssertionError("the rows are checked again")


def killed_after(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a run end with an error after a step, as a kill would end it."""
    finish = Trainer._finish

    def stop(trainer: Trainer, finished: int, grad_norm: float) -> None:
        finish(trainer, finished, grad_norm)
        if finished == step:
            raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_finish", stop)


def logged(folder: Path) -> list[str]:
    """What was logged of each step, without what time and machine decide."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    timed = ("second", "memory", "tflops", "mfu", "wait")
    return [
        str({key: value for key, value in line.items() if not any(each in key for each in timed)}) for line in lines
    ]


LOST = ["the cache", *(pytest.param(lost, marks=pytest.mark.long) for lost in ("nothing", "the file beside the run"))]


@pytest.mark.parametrize("lost", LOST)
def test_a_killed_run_resumes_without_a_check_to_the_byte(
    lost: str, changes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MDPO_CACHE", str(tmp_path / "one"))
    whole = train(changes, tmp_path / "whole")
    monkeypatch.setenv("MDPO_CACHE", str(tmp_path / "other"))
    with monkeypatch.context() as patch:
        killed_after(3, patch)
        with pytest.raises(KeyboardInterrupt):
            train(changes, tmp_path / "killed")
    if lost == "the cache":
        monkeypatch.setenv("MDPO_CACHE", str(tmp_path / "empty"))
    elif lost == "the file beside the run":
        shutil.rmtree(tmp_path / "killed" / "checked")
    monkeypatch.setattr(reading, "check_data", no_check)
    killed = train(changes, tmp_path / "killed", resume=True)
    assert contents(killed / "final") == contents(whole / "final")
    assert logged(killed) == logged(whole)
    assert contents(killed / "checked") == contents(whole / "checked")
