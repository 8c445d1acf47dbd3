"""An exported model is written without DeepSpeed, which takes seconds to import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.builders.small_vlms import build_vlm
from transformers import AutoModelForImageTextToText

EXPORT = """
import sys
from pathlib import Path
from mdpo_core import Placement, component
model = component("adapter", "chat_vlm", path=sys.argv[1]).load(Placement())
model.export(Path(sys.argv[2]))
print("deepspeed" in sys.modules)
"""


def test_an_export_does_not_import_deepspeed(tmp_path: Path) -> None:
    pytest.importorskip("deepspeed", reason="DeepSpeed is not installed")
    folder = build_vlm("llava", tmp_path / "model")
    command = [sys.executable, "-c", EXPORT, str(folder), str(tmp_path / "exported")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
    AutoModelForImageTextToText.from_pretrained(tmp_path / "exported")
