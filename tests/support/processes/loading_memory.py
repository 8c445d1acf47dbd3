"""Prints by how many bytes loading raises a process's memory at its peak: its own, and with files that are mapped."""

from __future__ import annotations

import re
import sys
import threading
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import LlavaForConditionalGeneration

from mdpo_core import Placement, component

# Imported before anything is measured.
_ALSO = (PeftModel, LlavaForConditionalGeneration)


def memory() -> tuple[int, int]:
    """Of mapped files the system takes back what it needs; where a type is changed, they lie beside the copy."""
    status = Path("/proc/self/status").read_text()
    own, whole = (int(re.findall(rf"{name}:\s+(\d+) kB", status)[0]) * 1024 for name in ("RssAnon", "VmRSS"))
    return own, whole


def main(folder: str, dtype: Any) -> None:
    torch.ones(1).sum()
    seen = [memory()]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            seen.append(memory())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    adapter: Any = component("adapter", "bunny", path=folder)
    model = adapter.load(Placement(dtype=dtype), trainable=False)
    # What is only mapped counts once it is looked at.
    for parameter in model.module.parameters():
        parameter.sum()
    seen.append(memory())
    done.set()
    thread.join()
    sys.stdout.write(" ".join(str(max(each) - each[0]) for each in zip(*seen, strict=True)) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
