"""Models out of checkpoints: what is written, that it is what was trained, and what is refused."""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch
from mdpo_llava.adapter import Llava
from mdpo_vlm.forward.model import VlmModel
from peft import PeftModel
from safetensors.torch import load_file, save_file
from support.pairs import PROMPT
from support.paths import RECIPES
from torch import nn
from transformers import AutoModelForImageTextToText, AutoProcessor

from mdpo_core import CheckpointError, DataError, RecipeError, TensorSlice, load_recipe, run
from mdpo_core.cli import main
from mdpo_core.storage.checkpoints import STATE
from mdpo_core.storage.export import export_run
from mdpo_core.storage.exported import EXPORTED, digests
from mdpo_core.storage.files import sha256
from mdpo_core.types.engine_state import SavedEngineState, write_state

SHORT = ["train.epochs=1", "output.save_every=1", "trackers=[]", "reference=auto"]
FULL = "model.lora=null"


def finished(changes: list[str], folder: Path, *more: str) -> Path:
    """A run of three steps, with the checkpoints of the last two."""
    kept = [change for change in changes if FULL not in more or not change.startswith("model.lora")]
    words = [*kept, *SHORT, *more, f"output.dir={folder}"]
    return run(load_recipe(RECIPES / "llava_mdpo.yaml", words)).run_dir


@pytest.fixture(scope="session")
def lora_run(changes: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished(changes, tmp_path_factory.mktemp("lora") / "run")


@pytest.fixture(scope="session")
def full_run(changes: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished(changes, tmp_path_factory.mktemp("full") / "run", FULL)


def with_adapter(llava: Path, folder: Path) -> Any:
    return PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(llava), folder)


def logits(model: Any, folder: Path) -> torch.Tensor:
    picture = PIL.Image.radial_gradient("L").convert("RGB")
    inputs = AutoProcessor.from_pretrained(folder, backend="pil")(images=picture, text=PROMPT, return_tensors="pt")
    with torch.no_grad():
        found: torch.Tensor = model(**inputs).logits.float()
    return found


def state_file(checkpoint: Path) -> Path:
    return checkpoint / "state-00000-of-00001.safetensors"


def assert_trained(model: Any, checkpoint: Path) -> None:
    """Every weight that a checkpoint holds is the model's."""
    saved = {name: value for name, value in load_file(state_file(checkpoint)).items() if name.startswith("weight:")}
    assert saved
    for name, value in saved.items():
        parameter = model.get_parameter(name.removeprefix("weight:policy.").removesuffix("@0"))
        assert torch.equal(parameter.detach().flatten(), value.to(parameter.dtype)), name


def test_exported_adapter_equals_newest_checkpoint_and_final_one(lora_run: Path, llava: Path, tmp_path: Path) -> None:
    """The exported adapter is the one of the newest checkpoint and of the run's own final folder."""
    out = tmp_path / "deep" / "out"
    assert export_run(lora_run, out).name == "step-000003"
    assert_trained(with_adapter(llava, out), lora_run / "checkpoints" / "step-000003")
    assert load_file(out / "adapter_model.safetensors").keys() == (
        load_file(lora_run / "final" / "adapter_model.safetensors").keys()
    )
    assert torch.equal(logits(with_adapter(llava, out), out), logits(with_adapter(llava, lora_run / "final"), out))
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_exported_whole_model_keeps_original_names_and_shapes(full_run: Path, llava: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    export_run(full_run, tmp_path / "out")
    before, after = (load_file(folder / "model.safetensors") for folder in (llava, tmp_path / "out"))
    assert {name: value.shape for name, value in after.items()} == {name: value.shape for name, value in before.items()}
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "out")
    assert_trained(model, full_run / "checkpoints" / "step-000003")


def test_an_older_checkpoint_can_be_had(full_run: Path, tmp_path: Path) -> None:
    export_run(full_run, tmp_path / "out", step=2)
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "out")
    assert_trained(model, full_run / "checkpoints" / "step-000002")


def test_a_merged_model_is_plain_and_gives_the_adapter_s_logits(lora_run: Path, llava: Path, tmp_path: Path) -> None:
    # Three steps change little; the test must notice a forgotten merge.
    grown = shutil.copytree(lora_run, tmp_path / "grown")
    rewrite(grown, lambda name, value: value + 0.1 if ":policy" in name and "lora_B" in name else value)
    for merge in (False, True):
        export_run(grown, tmp_path / str(merge), merge=merge)
    before, after = (load_file(folder / "model.safetensors") for folder in (llava, tmp_path / "True"))
    assert {name: value.shape for name, value in after.items()} == {name: value.shape for name, value in before.items()}
    merged = logits(AutoModelForImageTextToText.from_pretrained(tmp_path / "True"), tmp_path / "True")
    torch.testing.assert_close(merged, logits(with_adapter(llava, tmp_path / "False"), llava), atol=1e-5, rtol=1e-5)
    base = logits(AutoModelForImageTextToText.from_pretrained(llava), llava)
    assert float((merged - base).abs().max()) > 0.1


@pytest.mark.long
def test_bfloat16_weights_stay_bfloat16(changes: list[str], tmp_path: Path) -> None:
    folder = finished(changes, tmp_path / "run", "backend.precision=bf16", "model.lora.rank=2")
    export_run(folder, tmp_path / "merged", merge=True)
    whole = load_file(tmp_path / "merged" / "model.safetensors")
    assert {value.dtype for value in whole.values()} == {torch.bfloat16}


@pytest.mark.long
def test_what_several_processes_saved_is_put_together(full_run: Path, tmp_path: Path) -> None:
    several = shutil.copytree(full_run, tmp_path / "several")
    share_out(several)
    for folder in (full_run, several):
        export_run(folder, tmp_path / "out" / folder.name)
    one, other = (load_file(tmp_path / "out" / name / "model.safetensors") for name in (full_run.name, "several"))
    assert all(torch.equal(one[name], other[name]) for name in one.keys() | other.keys())


@pytest.mark.long
def test_the_model_of_the_quickstart_can_be_exported(tmp_path: Path) -> None:
    changes = ["data.num_pairs=2", "train.batch_size=2", "train.micro_batch_size=2", "evaluators=[]", "trackers=[]"]
    folder = run(load_recipe(RECIPES / "quickstart.yaml", [*changes, f"output.dir={tmp_path / 'run'}"])).run_dir
    export_run(folder, tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").is_file()


def base_in(folder: Path) -> str:
    return str(json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"])


@pytest.mark.long
def test_exported_adapter_names_its_model_from_any_folder(
    lora_run: Path, llava: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert base_in(lora_run / "final") == str(llava.absolute())
    monkeypatch.chdir(llava.parent)
    given = {llava.name: str(llava.absolute()), "/models/llava": "/models/llava", "llava-hf/tiny": "llava-hf/tiny"}
    for number, (base, named) in enumerate(given.items()):
        export_run(lora_run, tmp_path / str(number), base=base)
        assert base_in(tmp_path / str(number)) == named
        assert digests(tmp_path / str(number)) | {EXPORTED: ""} == {
            **json.loads((tmp_path / str(number) / EXPORTED).read_text())["files"],
            EXPORTED: "",
        }


@pytest.mark.parametrize("base", ["../llava", "models", "a/b/c", ""])
def test_base_that_other_folders_would_not_find_is_refused(base: str, lora_run: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="give an absolute path, or a name on the hub"):
        export_run(lora_run, tmp_path / "out", base=base)
    assert not (tmp_path / "out").exists()


def test_complete_model_takes_no_base(full_run: Path, lora_run: Path, tmp_path: Path) -> None:
    for folder, merge in ((full_run, False), (lora_run, True)):
        with pytest.raises(RecipeError, match="base: the export is a complete model"):
            export_run(folder, tmp_path / "out", base="/models/llava", merge=merge)


@pytest.mark.long
def test_one_model_is_held_at_a_time(full_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def held() -> int:
        return sum(type(each) is nn.Parameter for each in gc.get_objects())

    def load(self: Llava, *inputs: Any) -> Any:
        assert held() <= before
        return LOAD_EXPORTED(self, *inputs)

    gc.collect()
    before = held()
    monkeypatch.setattr(Llava, "load_exported", load)
    export_run(full_run, tmp_path / "out")


def newest(folder: Path) -> Path:
    return sorted((folder / "checkpoints").iterdir())[-1]


def rewrite(folder: Path, change: Callable[[str, torch.Tensor], torch.Tensor]) -> None:
    """Let the newest checkpoint hold other numbers, as if they had been saved."""
    file = state_file(newest(folder))
    state = SavedEngineState([file])
    pieces = [
        TensorSlice(name, change(name, state.whole(name, shape).flatten()), 0, shape) for name, shape in shapes(state)
    ]
    write_state(pieces, file)
    record(newest(folder))


def share_out(folder: Path) -> None:
    """Let the newest checkpoint be one of two processes, each with a half of every tensor."""
    file = state_file(newest(folder))
    state = SavedEngineState([file])
    whole = [(name, shape, state.whole(name, shape).flatten()) for name, shape in shapes(state)]
    file.unlink()
    first = [TensorSlice(name, values[: len(values) // 3], 0, shape) for name, shape, values in whole]
    rest = [TensorSlice(name, values[len(values) // 3 :], len(values) // 3, shape) for name, shape, values in whole]
    for rank, pieces in enumerate((first, rest)):
        held = [piece for piece in pieces if len(piece.values)]
        write_state(held, newest(folder) / f"state-{rank:05d}-of-00002.safetensors")
    record(newest(folder))


def shapes(state: SavedEngineState) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, state._shapes[name]) for name in state]


def record(checkpoint: Path) -> None:
    """The digests of the files that are there."""
    about = json.loads((checkpoint / STATE).read_text())
    about["sha256"] = {file.name: sha256(file) for file in sorted(checkpoint.glob("*.safetensors"))}
    (checkpoint / STATE).write_text(json.dumps(about))


def damage(folder: Path) -> None:
    file = state_file(newest(folder))
    file.write_bytes(file.read_bytes()[:-1] + b"?")


def lose_a_file(folder: Path) -> None:
    share_out(folder)
    (newest(folder) / "state-00001-of-00002.safetensors").unlink()


def lose_numbers(folder: Path) -> None:
    lose_a_file(folder)
    record(newest(folder))


def set_rank(rank: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "recipe.yaml"
        file.write_text(file.read_text().replace("rank: 4", f"rank: {rank}"))

    return change


def train_the_weights(folder: Path) -> None:
    text, _, rest = (folder / "recipe.yaml").read_text().partition("  lora:\n")
    after = rest.partition("  max_length:")[2]
    (folder / "recipe.yaml").write_text(f"{text}  lora: null\n  max_length:{after}")


def add_a_weight(folder: Path) -> None:
    file = state_file(newest(folder))
    extra = shutil.copy(file, newest(folder) / "state-00001-of-00002.safetensors")
    write_state([TensorSlice("weight:policy.more", torch.zeros(2), 0, (2,))], Path(extra))
    record(newest(folder))


def change_the_model(folder: Path) -> None:
    """As if the model's files had been others: a hash of the manifest is."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["model"]["model.safetensors"] = "0" * 64
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (shutil.rmtree, RecipeError, "is not a run directory: it does not contain recipe.yaml"),
        (lambda folder: shutil.rmtree(folder / "checkpoints"), RecipeError, "has no checkpoint yet"),
        (damage, CheckpointError, "state-00000-of-00001.safetensors differs from what was saved"),
        (lose_a_file, CheckpointError, "state-00001-of-00002.safetensors is missing"),
        (lose_numbers, CheckpointError, "belongs to another model: it lacks numbers of weight:policy"),
        (lambda folder: (newest(folder) / STATE).write_text("{"), CheckpointError, "checkpoint.json is damaged"),
        (
            set_rank("2"),
            CheckpointError,
            r"belongs to another model: it contains .* in the shape \(4, 32\); the model's",
        ),
        (train_the_weights, CheckpointError, "belongs to another model: it does not contain weight:policy.model"),
        (
            add_a_weight,
            CheckpointError,
            "belongs to another model: it has weights that this one does not train: .*policy.more",
        ),
        (
            change_the_model,
            CheckpointError,
            "the model has changed since the run .*: model.safetensors; restore",
        ),
        (lambda folder: (folder / "manifest.json").unlink(), CheckpointError, "manifest.json, which lists the model"),
        (lambda folder: (folder / "manifest.json").write_text("{}"), CheckpointError, "cannot be read"),
        (set_rank("none"), RecipeError, "lora.rank"),
    ],
)
def test_unexportable_run_is_refused_with_reason_leaving_nothing(
    change: Callable[[Path], Any], error: type[Exception], message: str, lora_run: Path, tmp_path: Path
) -> None:
    change(shutil.copytree(lora_run, tmp_path / "run"))
    with pytest.raises(error, match=message):
        export_run(tmp_path / "run", tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} <= {"run"}


def test_a_model_folder_that_is_gone_is_named(lora_run: Path, llava: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(lora_run, tmp_path / "run")
    recipe = folder / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace(str(llava), str(tmp_path / "gone")))
    with pytest.raises(DataError, match="gone: the folder does not exist"):
        export_run(folder, tmp_path / "out")


def test_export_of_unkept_step_is_refused_with_the_kept_steps(lora_run: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"has no checkpoint of step 1  \(steps: 2, 3\)"):
        export_run(lora_run, tmp_path / "out", step=1)


def test_merging_is_refused_after_training_without_lora(full_run: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="there is no LoRA to merge"):
        export_run(full_run, tmp_path / "out", merge=True)


def test_what_stands_in_the_way_is_left_alone(lora_run: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("kept")
    for out in (tmp_path / "out", tmp_path / "out" / "mine"):
        with pytest.raises(RecipeError, match="already exists and is not empty; choose another folder with out=DIR"):
            export_run(lora_run, out)
    assert (tmp_path / "out" / "mine").read_text() == "kept"


def test_unwritable_export_folder_is_noticed_before_model_loads(
    lora_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("mdpo_vlm.loading.load.load_model", lambda *_: pytest.fail("it was loaded"))
    with pytest.raises(CheckpointError, match="out could not be written"):
        export_run(lora_run, tmp_path / "file" / "out")


EXPORT, LOAD_EXPORTED = VlmModel.export, Llava.load_exported


def without(part: str) -> Callable[..., None]:
    """An export that forgets the tensors of some name."""

    def export(self: VlmModel, folder: Path, *, merge: bool = False) -> None:
        EXPORT(self, folder, merge=merge)
        file = next(folder.glob("*.safetensors"))
        kept = {name: value for name, value in load_file(file).items() if part not in name}
        save_file(kept, file, metadata={"format": "pt"})

    return export


def rounded(self: VlmModel, folder: Path, *, merge: bool = False) -> None:
    EXPORT(self, folder, merge=merge)
    file = next(folder.glob("*.safetensors"))
    save_file({name: value.bfloat16() for name, value in load_file(file).items()}, file, metadata={"format": "pt"})


def unmerged(self: VlmModel, folder: Path, *, merge: bool = False) -> None:
    with torch.no_grad():
        for name, value in self.module.named_parameters():
            if "lora_B" in name:
                value.zero_()
    EXPORT(self, folder, merge=merge)


def darker(self: VlmModel, folder: Path, *, merge: bool = False) -> None:
    """As it is, with a processor that takes another mean from pictures."""
    EXPORT(self, folder, merge=merge)
    file = folder / "processor_config.json"
    file.write_text(file.read_text().replace("0.48145466", "0.5"))


@pytest.mark.parametrize(
    ("run_of", "merge", "wrong", "message"),
    [
        ("full_run", False, without("lm_head"), "does not load: .*1 missing tensors"),
        ("full_run", False, rounded, "has other values of .* than the trained model"),
        ("lora_run", False, without("layers.1.mlp"), r"does not load: .* missing tensors: .*lora_"),
        ("lora_run", False, darker, "encodes text or images differently"),
        ("lora_run", True, unmerged, "gives other logits than the trained model"),
        ("lora_run", True, lambda self, folder, merge: EXPORT(self, folder), "lacks parameters of"),
    ],
)
@pytest.mark.filterwarnings("ignore:Found missing adapter keys")
def test_an_export_that_is_not_what_was_trained_is_caught(
    run_of: str,
    merge: bool,
    wrong: Callable[..., Any],
    message: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = shutil.copytree(request.getfixturevalue(run_of), tmp_path / "run")
    if run_of == "lora_run":
        rewrite(folder, lambda name, value: value + 0.1 if ":policy" in name and "lora_B" in name else value)
    monkeypatch.setattr(VlmModel, "export", wrong)
    with pytest.raises(CheckpointError, match=message):
        export_run(folder, tmp_path / "out", merge=merge)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("value", [float("nan"), 1e38])
def test_a_model_that_diverged_is_told_before_its_export_is_compared(
    value: float, lora_run: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(lora_run, tmp_path / "run")
    rewrite(folder, lambda name, each: torch.full_like(each, value) if ":policy" in name and "lora_" in name else each)
    with pytest.raises(CheckpointError, match=r"the trained model's logits are not finite.*lower train.learning_rate"):
        export_run(folder, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_the_command_exports_and_says_what(lora_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(lora_run), "--step", "2", "--merge", "--out", str(tmp_path / "out")]) == 0
    assert "step-000002" in capsys.readouterr().out
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_the_command_refuses_with_2_and_one_sentence(
    lora_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(lora_run), "--step", "7", "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == f"{lora_run} has no checkpoint of step 7  (steps: 2, 3)\n"
