"""Files of HallusionBench in the official layout, with made-up texts."""

from __future__ import annotations

import json
from typing import Any

from support.paths import DATA

TEMPLATE = "Question:{}\nReference answer: {}\nPrediction answer:{}\nOutput:"
SAME_TEMPLATE = "response1:{}\nresponse2: {}\nOutput:"


def hallusion_rows() -> list[dict[str, Any]]:
    """All rows in their places, with their right answers."""
    stored = json.loads((DATA / "benchmarks" / "hallusionbench_rows.json").read_text())
    return [hallusion_row(dict(zip(stored["keys"], row.split("_"), strict=True))) for row in stored["rows"]]


def hallusion_row(place: dict[str, str]) -> dict[str, Any]:
    """A row in its place."""
    name = "_".join((place["category"], place["subcategory"], place["set_id"], place["figure_id"]))
    picture = None if place["visual_input"] == "0" else f"./{name}.png"
    right = "Yes" if place["gt_answer"] == "1" else "No"
    texts = {"question": f"Is it so? {name} {place['question_id']}", "gt_answer_details": f"{right}, it is."}
    return {**place, **texts, "sample_note": "made up", "filename": picture}


def answered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with right answers."""
    return [{**row, "model_prediction": f"{'Yes' if row['gt_answer'] == '1' else 'No'}."} for row in rows]
