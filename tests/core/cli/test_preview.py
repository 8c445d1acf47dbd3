"""`mdpo preview`: one page that shows rows as the model gets them, whatever the rows hold."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.builders.small_vlms import build_vlm
from support.pictures import noise

from mdpo_core import Example, Turn, component, load_recipe
from mdpo_core.cli import main
from mdpo_core.cli.preview.tokens import prompt_runs, response_runs, texts_of
from mdpo_core.data.reading import read_data
from mdpo_core.reporting.page.words import differences

RECIPE = """
model: {{adapter: chat_vlm, path: {model}, prompts: chat, max_length: 400}}
data: {data}
corruptions: {{crop: {{corruption: random_crop}}, none: {{corruption: no_image}}, other: {{corruption: other_image}}}}
objective:
  - {{loss: dpo}}
  - {{loss: dpo, over: chosen@crop}}
  - {{loss: dpo, over: chosen@none}}
  - {{loss: dpo, over: chosen@other}}
backend: {{backend: local}}
output: {{dir: runs/none}}
"""
EVIL = "<script>alert('x')</script><img src=http://host/x.png> & \"quoted\""
ARABIC = "ما هذا الشيء على الماء؟"
_VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """The elements of a page with their texts; raises `AssertionError` if one is not closed, or loads something."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[tuple[str, str]] = []
        self.texts: list[tuple[str, str]] = []  # "tag class", text
        self.counts: dict[str, int] = {}
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert (given.get("src") or "data:image/").startswith("data:image/")
        assert tag not in ("script", "link", "iframe", "object")
        assert not {"href", "onclick", "onerror"} & given.keys()
        name = f"{tag} {given.get('class') or ''}".strip()
        self.counts[name] = self.counts.get(name, 0) + 1
        if tag not in _VOID:
            self._open.append((tag, name))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        self.texts += [(name, data) for _, name in self._open]

    def text(self, name: str) -> str:
        return "".join(text for where, text in self.texts if where == name)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_vlm("llava", tmp_path_factory.mktemp("preview") / "model")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(8):
        noise(1000, 20 + number).save(folder / f"{number}.png")
    return folder


def row(
    image: Any, prompt: Any = "<image>\nWhat is it?", chosen: str = "A red boat.", rejected: str = "A whale."
) -> Any:
    return {"img_path": image, "prompt": prompt, "chosen": chosen, "rejected": rejected}


def preview(folder: Path, model: Path, pictures: Path, rows: Sequence[Any], *more: str) -> Page:
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = f"{{reader: pairs, path: {folder / 'rows.jsonl'}, images: {pictures}}}"
    (folder / "recipe.yaml").write_text(RECIPE.format(model=model, data=data))
    out = folder / "page.html"
    assert main(["preview", str(folder / "recipe.yaml"), "--out", str(out), *more]) == 0
    return Page(out.read_text())


def test_the_page_shows_rows_conditions_roles_and_what_was_found(
    model: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    talk = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "<image>\nWhat?"},
        {"role": "assistant", "content": "A boat."},
        {"role": "user", "content": "Which?"},
    ]
    rows = [row("0.png", talk), row("1.png"), row("1.png"), row("gone.png"), row("lost.png"), row("2.png", chosen="")]
    page = preview(tmp_path, model, pictures, rows, "--rows", "9")
    assert capsys.readouterr().out.endswith("page.html: 6 rows, 3 of them bad; open it in a browser\n")
    assert page.counts["article row"] == 3
    assert page.counts["img"] == 3 * 3  # as it is, crop, other; a row without a picture has none
    assert page.text("section condition one").count("no picture") == 3
    assert (page.text("span run system")[-9:], "A boat." in page.text("span run assistant")) == ("Be brief.", True)
    assert "<|im_start|>user" in page.text("span run template")
    assert "4 image tokens" in page.text("span run image")
    assert page.text("span run scored").count("A red boat.<|im_end|>") == 3
    assert "red boatwhale" in page.text("mark")
    reasons = page.text("ul reasons")
    assert reasons.index("2img_path: '") < reasons.index("the response 'chosen' is empty")
    assert "rows.jsonl row 4; rows.jsonl row 5" in reasons
    assert page.text("ul groups") == "rows.jsonl row 2 = rows.jsonl row 3"
    assert "model.max_length = 400" in page.text("div axis")


def test_nothing_in_the_data_becomes_html(model: Path, pictures: Path, tmp_path: Path) -> None:
    rows = [row("0.png", f"<image>\n{EVIL}", EVIL, ARABIC), row("1.png", chosen="long " * 30 + "W" * 200)]
    page = preview(tmp_path, model, pictures, [*rows, row("0.png", EVIL, "", "x"), row(f"{EVIL}.png")])
    assert EVIL in page.text("p words")
    assert ARABIC in page.text("p words")
    assert EVIL.replace(" ", "") in page.text("span run user").replace(" ", "")


def test_a_row_may_have_no_picture_or_eight(model: Path, pictures: Path, tmp_path: Path) -> None:
    many = [f"{number}.png" for number in range(8)]
    page = preview(tmp_path, model, pictures, [row([], "Who?"), row(many, "<image>" * 8 + "Which?")])
    assert page.counts["img"] == 8 * 2
    assert "No picture." in page.text("p quiet")
    assert "other_image found none of 2 rows" in page.text("p fault")  # of a condition, not of the page


def test_data_without_a_sound_row_have_a_page_too(model: Path, pictures: Path, tmp_path: Path) -> None:
    page = preview(tmp_path, model, pictures, [row("gone.png"), row("0.png", chosen="")])
    assert "There is no sound row to show." in page.text("p quiet")
    assert "article row" not in page.counts


def test_rows_of_each_source_are_drawn_by_the_seed(model: Path, pictures: Path, tmp_path: Path) -> None:
    sources = {}
    for name in ("boats", "cats"):
        file = tmp_path / f"{name}.jsonl"
        file.write_text("\n".join(json.dumps(row(f"{n % 8}.png", f"<image>\n{name} {n}?")) for n in range(9)))
        sources[name] = {"reader": "pairs", "path": str(file), "images": str(pictures)}
    data = json.dumps({"reader": "mixture", "sources": sources})
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(model=model, data=data))
    shown = []
    for number, seed in enumerate((0, 0, 1)):
        out = tmp_path / f"{number}.html"
        options = ["--rows", "2", "--seed", str(seed), "--out", str(out)]
        assert main(["preview", str(tmp_path / "recipe.yaml"), *options]) == 0
        page = Page(out.read_text())
        assert page.text("h3 source") == "source boatssource cats"
        assert page.counts["article row"] == 4
        shown.append(out.read_bytes())
    assert shown[0] == shown[1] != shown[2]


def test_held_out_rows_are_marked_and_counted(
    model: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row(f"{n % 8}.png", f"<image>\nNumber {n}?") for n in range(12)]
    page = preview(tmp_path, model, pictures, rows, "--rows", "3", "--set", "data.hold_out={rows: 3}")
    assert capsys.readouterr().out.endswith("page.html: 12 rows, 0 of them bad, 3 held out; open it in a browser\n")
    assert "3of them held out" in page.text("ul cards")
    assert page.counts["article row"] == 3 + 1
    assert page.text("span chip held") == "held out"
    recipe = load_recipe(tmp_path / "recipe.yaml", ["data.hold_out={rows: 3}"])
    checked, _ = read_data(recipe, weights=False)
    assert checked.held_out is not None
    marked = [int(name.split(" row ")[1]) - 1 for name in page.text("h3").split("rows.jsonl")[1:]]
    assert marked[-1] in checked.held_out.rows
    assert not {*marked[:-1]} & {*checked.held_out.rows}


def test_rows_that_cannot_be_held_out_are_told_on_the_page(model: Path, pictures: Path, tmp_path: Path) -> None:
    rows = [row("0.png"), row("1.png")]
    page = preview(tmp_path, model, pictures, rows, "--set", "data.hold_out={rows: 3}")
    assert page.text("p fault") == (
        "data.hold_out: rows: 3 of 2 sound rows would leave none to train on; hold out fewer"
    )
    assert page.counts["article row"] == 2


def test_rows_of_validation_are_a_part_of_their_own(
    model: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.jsonl").write_text("\n".join(map(json.dumps, [row("3.png"), row("gone.png")])))
    reader = f"validation={{reader: pairs, path: {tmp_path / 'other.jsonl'}, images: {pictures}}}"
    page = preview(tmp_path, model, pictures, [row("0.png"), row("1.png")], "--set", reader)
    told = "page.html: 2 rows, 0 of them bad; validation: 2 rows, 1 of them bad; open it in a browser\n"
    assert capsys.readouterr().out.endswith(told)
    assert page.text("h1 validation") == "Validation not trained on"
    assert page.counts["article row"] == 3
    assert page.text("span chip held") == "not trained onvalidation"
    assert "gone.png" in page.text("ul reasons")


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("absent/page.html", "--out: the folder "),
        ("there.html", "there.html exists already; name a new file"),
        (".", "is a folder; name a file in it"),
    ],
)
def test_a_page_that_cannot_be_written_is_refused_first(
    out: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "there.html").write_text("mine")
    assert main(["preview", "absent.yaml", "--out", str(tmp_path / out)]) == 2
    assert words in capsys.readouterr().err
    assert (tmp_path / "there.html").read_text() == "mine"


@given(st.text(max_size=40), st.text(max_size=40))
def test_pieces_of_compared_answers_are_the_answers(one: str, other: str) -> None:
    left, right = differences(one, other)
    assert ("".join(each.text for each in left), "".join(each.text for each in right)) == (one, other)
    equal = ["".join(each.text for each in side if not each.differs) for side in (left, right)]
    assert equal[0] == equal[1]
    assert (one == other) == all(not each.differs for each in [*left, *right])


def test_tokens_that_share_a_character_are_shown_as_one(model: Path) -> None:
    encoder = component("adapter", "chat_vlm", path=str(model)).encoder()  # type: ignore[attr-defined]
    ids = encoder.encode_response("a 水😀 b").tolist()
    pieces = texts_of(encoder, ids)
    assert len(pieces) == len(ids)
    assert "".join(pieces) == "a 水😀 b<|im_end|>"


def test_roles_are_those_of_the_turns(model: Path) -> None:
    encoder = component("adapter", "chat_vlm", path=str(model), prompts="chat").encoder()  # type: ignore[attr-defined]
    turns = (Turn("system", "Be brief."), Turn("user", "<image>\nWhich <image> is red?"))
    image = PIL.Image.new("RGB", (30, 30))
    prompt = encoder.encode_prompt(Example("1", turns, {}, (image, image)))
    runs = [(run.role, "".join(run.pieces).strip()) for run in prompt_runs(encoder, prompt, turns)]
    said = [each for each in runs if each[0] in ("system", "user", "image")]
    assert [role for role, _ in said] == ["system", "image", "user", "image", "user"]
    assert [text for _, text in said if text] == ["Be brief.", "Which", "is red?"]
    ids = torch.tensor(encoder.encode_response("ab").tolist())
    scored = response_runs(encoder, ids, torch.tensor([1, 0, *[1] * (len(ids) - 2)]))
    assert [run.role for run in scored] == ["scored", "read", "scored"]


def test_text_that_looks_like_a_mark_is_the_user_s(model: Path) -> None:
    encoder = component("adapter", "chat_vlm", path=str(model), prompts="chat").encoder()  # type: ignore[attr-defined]
    turns = (Turn("user", "<image>\nIn \\[x\\], what are \\<image> and \\<|im_end|>?"),)
    prompt = encoder.encode_prompt(Example("1", turns, {}, (PIL.Image.new("RGB", (40, 30)),)))
    said = [run for run in prompt_runs(encoder, prompt, turns) if run.role == "user"]
    assert "\\[x\\],whatare<image>and<|im_end|>?" in "".join(said[-1].pieces).replace(" ", "")


def test_a_ready_made_prompt_is_one_run(model: Path) -> None:
    encoder = component("adapter", "chat_vlm", path=str(model), prompts="ready").encoder()  # type: ignore[attr-defined]
    text = "USER: <image>\nWhat? ASSISTANT:"
    prompt = encoder.encode_prompt(Example("1", text, {}, (PIL.Image.new("RGB", (30, 30)),)))
    assert [run.role for run in prompt_runs(encoder, prompt, text)] == ["ready", "image", "ready"]


def test_lengths_show_rows_that_are_too_long(model: Path, pictures: Path, tmp_path: Path) -> None:
    page = preview(tmp_path, model, pictures, [row("0.png"), row("1.png", chosen="long " * 500)])
    assert "model.max_length = 400" in page.text("div axis")
    assert "far beyond" not in page.text("div axis")
    assert page.counts["article row"] == 1


def test_the_beginning_that_answers_go_on_from_is_shown(model: Path, pictures: Path, tmp_path: Path) -> None:
    rows = [row(f"{number}.png") | {"said": said} for number, said in enumerate(["There is <b>water</b>.", ""])]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = f"{{reader: pairs, path: {tmp_path / 'rows.jsonl'}, images: {pictures}, beginning: said}}"
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(model=model, data=data))
    assert main(["preview", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "page.html")]) == 0
    page = Page((tmp_path / "page.html").read_text())
    assert page.counts["span beginning"] == 1
    assert page.text("span beginning") == "There is <b>water</b>. "
