"""The formats of data.md: one row of each, and the lines of a recipe that read it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CASES = ROOT / "tests" / "data" / "formats"
PAGE = ROOT / "docs" / "data.md"
MARK = "writes the rest. -->\n"
WIDTH = 60  # characters of a text that are shown
# A small file of each format below tests/data/formats, and the options of its recipe besides the path.
EXAMPLES = {
    "trl": ("trl_jsonl_paths/pairs.jsonl", "images: FOLDER"),
    "swift": ("swift_response/pairs.jsonl", "images: FOLDER"),
    "llamafactory": ("llamafactory_sharegpt/pairs.json", "dataset: boats"),
    "argilla": ("argilla/records.json", ""),
    "distilabel": ("distilabel/generations.jsonl", "images: FOLDER"),
    "rlaif_v": ("rlaif_v/part-000.parquet", ""),
    "rlhf_v": ("rlhf_v/RLHF-V-Dataset.parquet", ""),
    "vlfeedback": ("vlfeedback/vlfeedback.jsonl", "images: FOLDER, take: all_pairs"),
    "mmpr": ("mmpr/MMPR-v1.2/annotations/own_a_pairs_vqa_correctness_rules.jsonl", "images: FOLDER"),
    "povid": ("povid/povid.json", "images: FOLDER"),
    "sentinel": ("sentinel/LLaVA_v1_5_7b_SENTINEL_8_6k.json", "images: FOLDER"),
    "seva": ("seva/textvqa_dpo_8k.json", "images: FOLDER"),
    "bpo": ("bpo/bpo.jsonl", "images: FOLDER"),
    "ha_dpo": ("ha_dpo/desc_data.json", "images: FOLDER"),
    "mm_rlhf": ("mm_rlhf/dpo_pairs.jsonl", "images: FOLDER, frames: 10"),
    "align_anything": ("two_responses/pairs.parquet", ""),
    "hound": ("llava_hound/sft_dpo.jsonl", "images: FOLDER, frames: 10"),
}


def formats() -> Iterator[str]:
    """The section of each named reader."""
    from mdpo_readers.tables.opening import open_table

    from mdpo_core.registry.discovery import current_registry

    readers = current_registry().components("reader")
    for name, (file, options) in EXAMPLES.items():
        cls: Any = readers[name]
        table = open_table(str(CASES / file), "train")
        row = table.select(table.column_names()).row(0)
        path = "FOLDER" if name == "llamafactory" else Path(file).name
        more = f", {options}" if options else ""
        described = " ".join((cls.__doc__ or "").replace("``", "`").split())
        shown = json.dumps({column: _short(value) for column, value in row.items()}, ensure_ascii=False)
        yield "\n".join(["", f"## `{name}`: {cls.title}", "", described, "", "```yaml", "data:"])
        yield "\n".join([f"  {{reader: {name}, path: {path}{more}}}", "```", "", "```json", shown, "```"])


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _short(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_short(each) for each in value]
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    return f"{value[:WIDTH]}..." if isinstance(value, str) and len(value) > WIDTH else value


def page() -> str:
    """The page with its formats written again."""
    return PAGE.read_text().partition(MARK)[0] + MARK + "\n".join(formats()) + "\n"
