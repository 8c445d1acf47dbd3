"""A command that makes data: no second one writes the same file before that has its name."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.data_commands import lines, recipe_of, write_rows

from mdpo_core import MdpoError
from mdpo_core.make_data.job import NewPairs
from mdpo_core.make_data.relabel import Relabeling, relabel


def test_a_second_command_is_refused_until_the_file_has_its_name(
    changes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_rows(tmp_path / "a.jsonl", [{"img_path": "00.jpg", "answers": ["a", "b"], "points": [1, 2]}])
    recipe, out, replace = recipe_of(changes, source, "data.responses={}"), tmp_path / "out.jsonl", Path.replace
    refused = []

    def command() -> NewPairs | None:
        return relabel(recipe, out, Relabeling("answers", "points"))

    def with_a_second_command(path: Path, target: Path) -> Path:
        if target == out and not refused:
            with pytest.raises(MdpoError) as caught:
                command()
            refused.append(str(caught.value))
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", with_a_second_command)
    assert command() is not None
    assert refused == [f"another process is writing {out}.partial; wait until it ends"]
    assert [row["chosen"] for row in lines(out)] == ["b"]
    assert command() is None
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.jsonl", "out.jsonl", "out.jsonl.settings.json"]
