"""An answer does not depend on the prompts that are answered beside it: it is that of plain transformers alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from mdpo_vlm.forward.answers.long_rows import batches_of_steady_positions, steady_positions
from support.builders.small_vlms import SMALL, build_vlm
from support.builders.vlms.shapes import text
from support.oracles.plain_vlms import adapter, examples, plain_inputs
from support.paths import TESTS
from transformers import AutoConfig, AutoModelForMultimodalLM

from mdpo_core import Decoding, EncodedPrompt, Example, Placement
from mdpo_core.processes.rendezvous import process_group

NEW = 24
# Longer than a question about one picture, and shorter than one about two.
LIMIT = 28
FACTORS = {"short_factor": [1.0] * 4, "long_factor": [4.0] * 4}


def answers(family: str, folder: Path, data: list[Example]) -> list[list[int]]:
    made = adapter(family, folder)
    encoder = made.encoder()
    prompts = [encoder.encode_prompt(each) for each in data]
    return [answer.tolist() for answer in made.load(Placement()).generate(prompts, Decoding(NEW))]


def plain_answers(family: str, folder: Path, data: list[Example]) -> list[list[int]]:
    """Each by a new model: with dynamic positions, one that has read a long row counts otherwise afterwards.

    An answer that passes the limit is computed without a cache, which would hold the positions before it.
    """
    found, limit = [], steady_positions(AutoConfig.from_pretrained(folder)) or 10**6
    for example in data:
        plain = AutoModelForMultimodalLM.from_pretrained(folder).eval()
        inputs, length = plain_inputs(family, folder, example, None)
        options = {"max_new_tokens": NEW, "do_sample": False, "use_cache": not length <= limit < length + NEW}
        ids = plain.generate(**inputs, **options, pad_token_id=0)[0, length:].tolist()
        end = plain.generation_config.eos_token_id or plain.config.get_text_config().eos_token_id
        found.append(ids[: ids.index(end)] if end in ids else ids)
    return found


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_a_long_prompt_changes_no_answer_beside_it(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photographs: Path
) -> None:
    folder, data = with_positions(kind, LIMIT, monkeypatch, tmp_path), examples("llava", photographs)
    lengths = [plain_inputs("llava", folder, each, None)[1] for each in data]
    assert min(lengths) < LIMIT < max(lengths)
    assert answers("llava", folder, data) == plain_answers("llava", folder, data)


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_an_answer_that_becomes_long_changes_none_beside_it(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photographs: Path
) -> None:
    data = examples("llava", photographs)
    longest = max(plain_inputs("llava", build_vlm("llava", tmp_path / "usual"), each, None)[1] for each in data)
    folder = with_positions(kind, longest + 4, monkeypatch, tmp_path)
    assert answers("llava", folder, data) == plain_answers("llava", folder, data)


@pytest.mark.parametrize("is_alone", [True, False], ids=["alone", "in a batch"])
def test_an_answer_of_phi_4_keeps_its_prompt_beyond_the_limit(
    is_alone: bool, tmp_path: Path, photographs: Path
) -> None:
    """transformers drops its cache there, and goes on from a single token."""
    family, folder = "phi4_multimodal", build_vlm("phi4_multimodal", tmp_path)
    data = examples(family, photographs)
    lengths = [plain_inputs(family, folder, each, None)[1] for each in data]
    limit = min(length for length, each in zip(lengths, data, strict=True) if each.images) + 4
    config = json.loads((folder / "config.json").read_text())
    rope = {"type": "longrope", "rope_type": "longrope", **FACTORS}
    config |= {"rope_parameters": None, "rope_scaling": rope, "original_max_position_embeddings": limit}
    (folder / "config.json").write_text(json.dumps(config))
    asked = [[each] for each in data] if is_alone else [data]
    assert [answer for each in asked for answer in answers(family, folder, each)] == plain_answers(family, folder, data)


def with_positions(kind: str, limit: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A small LLaVA whose positions change beyond ``limit`` tokens."""
    llava = SMALL["llava"]
    rope = {"rope_type": kind, "rope_theta": 100.0, "factor": 8.0, **(FACTORS if kind == "longrope" else {})}
    limits = {"max_position_embeddings": limit if kind == "dynamic" else 4096}
    if kind == "longrope":
        rope["original_max_position_embeddings"] = limit

    def config(token: Any) -> dict[str, Any]:
        return {**llava.config(token), "text_config": text("llama", token, **limits, rope_parameters=rope)}

    monkeypatch.setitem(SMALL, "llava", replace(llava, config=config))
    folder = build_vlm("llava", tmp_path / kind)
    if kind == "longrope":  # transformers writes its own limit
        stored = json.loads((folder / "config.json").read_text())
        stored["text_config"]["rope_parameters"]["original_max_position_embeddings"] = limit
        (folder / "config.json").write_text(json.dumps(stored))
    assert steady_positions(AutoConfig.from_pretrained(folder)) == limit
    return folder


def test_prompts_are_separated_only_where_a_long_one_would_matter(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = AutoConfig.from_pretrained(with_positions("longrope", LIMIT, monkeypatch, tmp_path))
    prompts = [EncodedPrompt(torch.arange(length)) for length in (4, 20, 8)]
    assert batches_of_steady_positions(config, prompts, LIMIT - 20) == [prompts]
    assert batches_of_steady_positions(config, prompts, LIMIT - 19) == [[each] for each in prompts]


def answer_in_turn(folder: Path, photographs: Path, told: Path) -> None:
    """What one of two processes answers: the first one three prompts, the second one a short one alone."""
    with process_group() as world:
        data = examples("llava", photographs)
        mine = data[1:] if world.rank == 0 else data[:1]
        (told / f"{world.rank}.json").write_text(json.dumps(answers("llava", folder, mine)))


@pytest.mark.long
def test_processes_with_other_prompts_answer_equally_often(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photographs: Path
) -> None:
    """A process that called the model less often would leave the others waiting."""
    folder, data = with_positions("longrope", LIMIT, monkeypatch, tmp_path), examples("llava", photographs)
    paths = ", ".join(f"pathlib.Path({str(each)!r})" for each in (folder, photographs, tmp_path))
    program = f"import sys, pathlib; sys.path.insert(0, {str(TESTS)!r}); from plugins.vlm import test_batched_answers\n"
    (tmp_path / "answer.py").write_text(f"{program}test_batched_answers.answer_in_turn({paths})\n")
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(tmp_path / "answer.py")]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment, timeout=200)
    assert done.returncode == 0, done.stderr
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert found == [plain_answers("llava", folder, data[1:]), plain_answers("llava", folder, data[:1])]


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
def test_a_prompt_gets_one_greedy_answer_whatever_the_model_s_own_settings_are(
    family: str, tmp_path: Path, photographs: Path
) -> None:
    folder, data = build_vlm(family, tmp_path), examples(family, photographs)
    alone = plain_answers(family, folder, data)
    own = {"num_beams": 3, "num_return_sequences": 2, "early_stopping": True, "length_penalty": 0.5}
    file = folder / "generation_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **own, "return_dict_in_generate": True}))
    assert answers(family, folder, data) == alone


def test_an_image_token_that_a_model_writes_shows_no_picture(tmp_path: Path, photographs: Path) -> None:
    """Phi-4's embedding gets the features of the prompt's pictures with each new token, too."""
    made = adapter("phi4_multimodal", build_vlm("phi4_multimodal", tmp_path))
    encoder, model = made.encoder(), made.load(Placement())
    prompts = [encoder.encode_prompt(each) for each in examples("phi4_multimodal", photographs)]
    with torch.no_grad():
        for name, weight in model.module.named_parameters():
            if "img_projection" in name:
                weight *= 30  # so that a picture changes answers
    first = int(model.generate(prompts[1:2], Decoding(1))[0][0])
    head: Any = model.module.get_output_embeddings()
    with torch.no_grad():
        head.weight[encoder.image_token] = 1.3 * head.weight[first]
    alone = [model.generate([prompt], Decoding(6))[0].tolist() for prompt in prompts]
    assert alone[1][0] == encoder.image_token
    assert [answer.tolist() for answer in model.generate(prompts, Decoding(6))] == alone
