"""Files of MMHal-Bench in the official layout, with made-up rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TYPES = ("attribute", "adversarial", "comparison", "counting", "relation", "environment", "holistic", "other")
TEMPLATE = "Contents: {}\nQuestion: {}\nHuman: {}\nModel: {}\nSay {{Rating: N}}."


def mmhal_rows(num_rows: int = 96) -> list[dict[str, Any]]:
    """The template's rows, with answers."""
    return [
        {
            "question_type": TYPES[index % 8],
            "question_topic": "outdoor",
            "image_id": f"{index:016x}",
            "image_src": f"https://c{index}.example/7/{index}_o.jpg?x=1",
            "image_content": ["Tree", f"Object {index}"],
            "question": f"What is in picture {index}?",
            "gt_answer": f"Object {index}.",
            "model_answer": f'A tree and {{object}} {index}, "blue".',
        }
        for index in range(num_rows)
    ]


def written(path: Path, value: Any) -> str:
    """A JSON file, as a word of the command line."""
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return str(path)
