"""`mdpo push`: a run's model and its card at a stand-in of the hub, and what a user is told when that cannot be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import ModelCard, constants
from support.hub import Hub, stand_in_hub

from mdpo_core.cli import main
from mdpo_core.storage.exported import digests, require_as_exported

BASE = "llava-hf/llava-1.5-7b-hf"
PUSH = ("--base", BASE)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with stand_in_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # the stand-in speaks LFS
        yield hub


@pytest.fixture
def run_dir(cached_run: Path, tmp_path: Path) -> Path:
    """A finished run with LoRA, which measured before and after."""
    copy = tmp_path / "finished"
    shutil.copytree(cached_run, copy, ignore=shutil.ignore_patterns("reference", "checkpoints"))
    with (copy / "metrics.jsonl").open("a") as file:
        for step, value in ((0, 0.5), (6, 0.875)):
            file.write(json.dumps({"step": step, "eval/preference/accuracy": value}) + "\n")
    return copy


def test_the_model_arrives_with_its_card(hub: Hub, run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push", str(run_dir), "mine", *PUSH]) == 0
    files = hub.commits["me/mine", "main"]
    assert files.keys() == {*digests(run_dir / "final"), "README.md"}
    for name in files.keys() - {"README.md", "adapter_config.json", "exported.json"}:
        assert files[name] == (run_dir / "final" / name).read_bytes()
    assert hub.repositories == {"me/mine": False}
    assert hub.tokens == {"Bearer hf_secret"}
    assert f"{hub.address}/me/mine: uploaded" in capsys.readouterr().out


def test_what_arrives_names_the_base_on_the_hub_and_no_folder(hub: Hub, run_dir: Path, tmp_path: Path) -> None:
    assert main(["push", str(run_dir), "mine", *PUSH]) == 0
    files = hub.commits["me/mine", "main"]
    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == BASE
    assert json.loads(files["exported.json"])["model"]["path"] == BASE
    assert not [name for name, content in files.items() if str(tmp_path.parent).encode() in content]
    for name, content in files.items():
        (tmp_path / "fetched").mkdir(exist_ok=True)
        (tmp_path / "fetched" / name).write_bytes(content)
    said = json.loads(files["exported.json"])
    require_as_exported(tmp_path / "fetched", digests(tmp_path / "fetched"), said["base"])


def test_the_card_says_what_the_hub_and_people_look_for(hub: Hub, run_dir: Path) -> None:
    assert main(["push", str(run_dir), "me/mine", *PUSH]) == 0
    card = ModelCard(hub.commits["me/mine", "main"]["README.md"].decode())
    assert (card.data.library_name, card.data.base_model) == ("peft", BASE)
    assert (card.data.pipeline_tag, card.data.license) == ("image-text-to-text", "other")
    assert {"dpo", "vision-language"} <= set(card.data.tags)
    manifest = json.loads((run_dir / "manifest.json").read_text())
    for text in (
        "| preference/accuracy | 0.5 | 0.875 |",
        "`-(1 - e) ls(beta D) - e ls(-beta D)`",
        "- **picture**: loss `dpo`",
        "over chosen@crop",
        f"{manifest['data']['rows']} pairs to train on",
        manifest["data"]["sha256"],
        'pipeline("image-text-to-text", model="me/mine")',
        "licence of the base model",
        "learning_rate: 0.001",
    ):
        assert text in card.content


def test_a_private_repository_and_a_branch(hub: Hub, run_dir: Path) -> None:
    assert main(["push", str(run_dir), "team/mine", *PUSH, "--private", "--revision", "step-6"]) == 0
    assert hub.repositories == {"team/mine": True}
    assert list(hub.commits) == [("team/mine", "step-6")]


def test_a_second_push_goes_to_the_same_repository(hub: Hub, run_dir: Path) -> None:
    for _ in range(2):
        assert main(["push", str(run_dir), "mine", *PUSH]) == 0
    assert hub.repositories == {"me/mine": False}


def test_a_public_repository_is_not_taken_for_a_private_one(
    hub: Hub, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.repositories["me/mine"] = False
    assert main(["push", str(run_dir), "me/mine", *PUSH, "--private"]) == 2
    assert "'me/mine' exists and is public; make it private on the hub, or choose" in capsys.readouterr().err
    assert not hub.commits


def test_a_dry_run_and_a_card_alone_send_nothing(
    hub: Hub, run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    assert main(["push", str(run_dir), "mine", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "would upload README.md, adapter_config.json, adapter_model.safetensors" in said
    file = tmp_path / "card.md"
    assert main(["push", str(run_dir), "mine", "--card-only", str(file)]) == 0
    assert file.read_text() in said
    assert main(["push", str(run_dir), "mine", "--card-only", str(file)]) == 2
    assert "the file exists; choose another name, or remove it" in capsys.readouterr().err
    assert not hub.repositories
    assert not hub.tokens


def fails(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command which fails prints."""
    assert main(["push", *words]) in (1, 2)
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    return line


@pytest.mark.parametrize("name", ["a/b/c", "me/", "/mine", "me/my model", "me--x/..", ""])
def test_a_name_that_is_none_is_refused(name: str, hub: Hub, run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is not a name on the hub; write OWNER/NAME, or NAME alone" in fails([str(run_dir), name], capsys)


def test_what_is_missing_is_said_before_anything_is_sent(
    hub: Hub, run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "say what the hub calls it with --base OWNER/NAME" in fails([str(run_dir), "mine"], capsys)
    assert "--base '/models/x' is not a name on the hub" in fails([str(run_dir), "mine", "--base", "/models/x"], capsys)
    assert "has no best/: the recipe has no output.keep_best" in fails([str(run_dir), "mine", "--best", *PUSH], capsys)
    assert "is not a run directory: it does not contain recipe.yaml" in fails([str(tmp_path), "mine"], capsys)
    monkeypatch.delenv("HF_TOKEN")
    assert "run hf auth login, or set HF_TOKEN" in fails([str(run_dir), "mine", *PUSH], capsys)
    assert "is not a run directory" in fails([str(tmp_path), "mine"], capsys)  # what is wrong here comes first
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    (run_dir / "final" / "tokenizer.json").write_text("{}")
    assert "tokenizer.json: changed, added or removed since the export" in fails([str(run_dir), "mine", *PUSH], capsys)
    shutil.rmtree(run_dir / "final")
    assert "has no final/: the run has not ended; continue it with" in fails([str(run_dir), "mine", *PUSH], capsys)
    assert not hub.repositories


@pytest.mark.parametrize(
    ("path", "code", "sentence"),
    [
        ("repos/create", 403, "the hub refuses 'team/mine': the token may not write there; choose a name of your own"),
        ("repos/create", 401, "the hub refuses 'team/mine': the hub does not accept the token; run hf auth login"),
        ("preupload", 403, "the token may not write there"),
        ("lfs/objects", 403, "the token may not write there"),
        ("commit", 409, "the repository changed meanwhile; try again"),
        ("commit", 500, "try again later"),
    ],
)
def test_a_hub_that_refuses_is_one_sentence(
    path: str, code: int, sentence: str, hub: Hub, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.refuses[path] = code
    assert sentence in fails([str(run_dir), "team/mine", *PUSH], capsys)
    assert not hub.commits


def test_without_a_network_there_is_one_sentence(
    hub: Hub, run_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    said = fails([str(run_dir), "mine", *PUSH], capsys)
    assert "'mine' was not uploaded: the hub does not answer" in said
    assert "check the network, and start the same command again" in said
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set, so nothing is uploaded; unset it" in fails([str(run_dir), "mine", *PUSH], capsys)
