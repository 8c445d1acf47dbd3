"""The command line: exit codes, messages without tracebacks, and what is imported for them."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.paths import RECIPES

from mdpo_core.cli import commands, main
from mdpo_core.cli.parser import build_parser

HEAVY = ("torch", "transformers", "peft", "datasets", "deepspeed")


def mdpo(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "mdpo_core.cli", *words], capture_output=True, text=True)


def imported_by(*words: str) -> set[str]:
    """The heavy packages that a command imports."""
    program = (
        "import sys, mdpo_core.cli as cli\n"
        f"try: cli.main({list(words)!r})\n"
        "except SystemExit: pass\n"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--help"],
        ["export", "--help"],
        ["corruptions", "--help"],
        ["new-plugin", "--help"],
        ["generate-rejected", "--help"],
        ["relabel", "--help"],
        ["plugins"],
        ["schema"],
        ["check", str(RECIPES / "llava_mdpo.yaml")],
    ],
)
def test_commands_that_compute_nothing_import_nothing_heavy(words: list[str]) -> None:
    assert imported_by(*words) == set()


def test_a_good_recipe_checks_with_0() -> None:
    done = mdpo("check", str(RECIPES / "quickstart.yaml"))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_bad_recipe_gives_2_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("modle: {}\n")
    done = mdpo("run", str(tmp_path / "bad.yaml"))
    assert done.returncode == 2
    assert "did you mean 'model'?" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [("run", "--processes", "0"), ("check", "--show", "-1")])
def test_what_is_counted_is_at_least_one(words: tuple[str, str, str]) -> None:
    command, option, number = words
    done = mdpo(command, str(RECIPES / "quickstart.yaml"), option, number)
    assert done.returncode == 2
    assert f"argument {option}: must be a whole number above 0, found {number}" in done.stderr


def test_missing_model_folder_exits_2_before_writing_anything(small: list[str], tmp_path: Path) -> None:
    changes = [*small, f"model.path={tmp_path / 'nowhere'}"]
    done = mdpo("run", str(RECIPES / "llava_mdpo.yaml"), *(word for each in changes for word in ("--set", each)))
    assert done.returncode == 2
    assert "the folder does not exist" in done.stderr
    assert not (tmp_path / "run").exists()


def test_check_with_data_names_every_bad_row(
    small: list[str], tmp_path: Path, pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = json.loads(pairs.read_text())
    rows[1]["chosen"] = rows[1]["rejected"]
    rows[3]["prompt"] = "no mark"
    rows[5]["img_path"] = "missing.jpg"
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps(rows))
    changes = [*small, f"data.path={bad}"]
    words = [word for each in changes for word in ("--set", each)]
    assert main(["check", str(RECIPES / "llava_mdpo.yaml"), "--data", *words]) == 2
    told = capsys.readouterr().err
    for text in (
        "row 2: the responses 'chosen' and 'rejected' are equal",
        "row 4: the prompt has 0 <image> marks",
        "row 6",
    ):
        assert text in told


def test_bad_rows_go_to_quarantine_if_the_recipe_says_so(small: list[str], tmp_path: Path, pairs: Path) -> None:
    rows = json.loads(pairs.read_text())
    rows[1]["chosen"] = " "
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps(rows))
    changes = [*small, f"data.path={bad}", "data.bad_rows=quarantine", "train.epochs=1"]
    words = [word for each in changes for word in ("--set", each)]
    assert main(["run", str(RECIPES / "llava_mdpo.yaml"), *words]) == 0
    listed = [json.loads(line) for line in (tmp_path / "run" / "quarantine.jsonl").read_text().splitlines()]
    assert [entry["row"] for entry in listed] == [2]
    assert "'chosen' is empty" in listed[0]["problems"][0]


def test_plugins_shows_one_component_with_its_options() -> None:
    listed = mdpo("plugins", "loss", "dpo").stdout
    for text in ("loss: dpo  [objectives]", "beta = 0.1  reward per nat"):
        assert text in listed
    assert "path = (required)" in mdpo("plugins", "adapter", "llava").stdout


def test_without_a_command_the_help_is_printed() -> None:
    done = mdpo()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == mdpo("--help").stdout


def test_command_ends_silently_when_its_output_is_closed() -> None:
    """Output that nobody reads any more ends the command with 1 and without a word."""
    for words in (["schema"], ["check", str(RECIPES / "quickstart.yaml")]):  # longer than what is printed at once; less
        command = [sys.executable, "-m", "mdpo_core.cli", *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            assert process.stderr.read() == ""
        assert process.returncode == 1


def test_a_broken_pipe_that_is_not_the_output_s_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def break_it(options: object) -> int:
        reader, writer = os.pipe()
        os.close(reader)
        try:
            return os.write(writer, b"to a worker")
        finally:
            os.close(writer)

    monkeypatch.setattr(commands, "list_plugins", break_it)
    assert main(["plugins"]) == 1
    assert "Broken pipe" in capsys.readouterr().err


def test_a_plugin_can_be_left_out() -> None:
    done = mdpo("check", str(RECIPES / "quickstart.yaml"), "--without", "corruptions")
    assert done.returncode == 2
    assert "unknown corruption 'random_crop'" in done.stderr


def test_unmakeable_run_directory_exits_1_without_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    changes = ["--set", "data.num_pairs=2", "--set", "train.batch_size=2", "--set", "train.micro_batch_size=2"]
    folder = tmp_path / "file" / "run"
    assert main(["run", str(RECIPES / "quickstart.yaml"), *changes, "--run-dir", str(folder)]) == 1
    told = capsys.readouterr().err
    assert "file/run" in told
    assert "Traceback" not in told


def _parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _parsers(command)


def test_no_command_takes_a_part_of_an_option_s_name_and_each_shows_examples() -> None:
    for parser in _parsers(build_parser()):
        assert not parser.allow_abbrev, parser.prog
        assert parser.prog == "mdpo" or (parser.epilog or "").startswith("examples:"), parser.prog


def test_the_help_says_how_words_complete(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([])
    shown = capsys.readouterr().out
    assert 'eval "$(register-python-argcomplete mdpo mdpo-run)"' in shown
    assert max(map(len, shown.partition("start here:")[2].splitlines())) <= 80


def test_abbreviated_options_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["check", "recipe.yaml", "--with", "digits"], ["plugins", "--with", "digits"], ["--vers"]):
        with pytest.raises(SystemExit, match="2"):
            main(words)
    assert "--with" in capsys.readouterr().err


def test_an_option_that_does_not_exist_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "recipe.yaml", "--resum"])
    assert "unrecognized arguments: --resum; did you mean '--resume'?" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["null", "true", "mdpo_no"])
def test_a_plugin_cannot_have_a_name_that_yaml_reads_as_something_else(name: str, tmp_path: Path) -> None:
    from mdpo_core import PluginError
    from mdpo_core.cli.new_plugin import write_plugin

    with pytest.raises(PluginError, match="cannot name a plugin: YAML reads it as another value"):
        write_plugin(name, "loss", tmp_path / "new")


def test_a_terminal_without_unicode_gets_escapes(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("modèle: {}\n", encoding="utf-8")
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii:strict"}
    command = [sys.executable, "-m", "mdpo_core.cli", "check", str(tmp_path / "bad.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, env=ascii_only)
    assert done.returncode == 2
    assert "mod\\xe8le: unknown section; did you mean 'model'?" in done.stderr
