"""The lines that a run writes as it goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from mdpo_core import Begun, Example, Sample
from mdpo_core.storage.metrics_file import SamplesFile


@pytest.mark.parametrize(
    ("begun", "beginning"),
    [
        (Begun("A boat."), {"beginning": "A boat. "}),
        (Begun("Bo", ""), {"beginning": "Bo"}),
        (Begun(""), {}),
        (None, {}),
    ],
)
def test_sample_has_the_beginning_of_a_begun_answer(
    begun: Begun | None, beginning: dict[str, str], tmp_path: Path
) -> None:
    file = SamplesFile(tmp_path / "samples.jsonl")
    file.keep(3, [Sample(Example("1", "What?", {"chosen": "Red."}, begun=begun), "Blue.")])
    [line] = file.records()
    assert {name: value for name, value in line.items() if name == "beginning"} == beginning
    assert (line["chosen"], line["answer"]) == ("Red.", "Blue.")
