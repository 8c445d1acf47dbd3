"""Model folders with changed files: refused by name or loaded, in bounded time and with no other error."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.builders.llava_adapter import adapter, example, logits
from support.effort import THOROUGH, num_examples
from support.mutations import write_changed

from mdpo_core import MdpoError, Placement

FILES = (
    *("config.json", "generation_config.json", "model.safetensors", "processor_config.json"),
    *("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"),
)
_SECONDS = 20.0


@pytest.mark.filterwarnings("ignore")  # what libraries say of odd files
@settings(
    max_examples=num_examples(12, 400),
    derandomize=not THOROUGH,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data(), name=st.sampled_from(FILES), prompts=st.sampled_from(["ready", "chat"]))
def test_a_changed_folder_is_refused_by_name_or_works(
    data: st.DataObject, name: str, prompts: str, llava: Path, photographs: Path
) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = shutil.copytree(llava, Path(temporary) / "model")
        write_changed(data.draw, folder / name)
        start = time.process_time()
        refusal = _refusal(folder, photographs, prompts)
        assert refusal is None or str(folder) in refusal or "example '1'" in refusal
        assert time.process_time() - start < _SECONDS


def _refusal(folder: Path, photographs: Path, prompts: str) -> str | None:
    made = adapter(folder, prompts=prompts)
    try:
        made.check()
        prompt = made.encoder().encode_prompt(example(photographs))
        logits(made.load(Placement()), prompt)
    except MdpoError as error:
        return str(error)
    return None
