"""A row of every named format whose rows have lists or objects."""

from __future__ import annotations

from typing import Any

USER, YES, NO = (
    {"role": role, "content": text} for role, text in (("user", "What?"), ("assistant", "Yes."), ("assistant", "No."))
)
HUMAN, GPT, WRONG = (
    {"from": role, "value": text} for role, text in (("human", "<image>What?"), ("gpt", "Yes."), ("gpt", "No."))
)


def rated(answer: str, rating: str) -> dict[str, Any]:
    return {"response": answer, "annotations": {"Helpfulness": {"Rating": rating}}}


# The reader and a row of it; each row has one picture, and says "Yes.", not "No.", to "What?".
ROWS: list[tuple[str, dict[str, Any]]] = [
    ("trl", {"prompt": [USER], "chosen": [YES], "rejected": [NO], "images": ["a.png"]}),
    ("trl", {"chosen": [USER, YES], "rejected": [USER, NO], "images": ["a.png"]}),
    ("trl", {"prompt": [USER], "chosen": YES, "rejected": NO, "images": [{"path": "a.png"}]}),
    ("swift", {"messages": [USER, YES], "rejected_response": "No.", "images": ["a.png"]}),
    ("swift", {"messages": [USER, YES], "rejected_messages": [USER, NO], "images": ["a.png"]}),
    ("arena", {"conversation_a": [USER, YES], "conversation_b": [USER, NO], "winner": "model_a", "images": ["a.png"]}),
    (
        "arena",
        {"conversation_a": [[USER], [YES]], "conversation_b": [[USER], [NO]], "winner": "model_a", "image": "a.png"},
    ),
    ("distilabel", {"instruction": "What?", "generations": ["No.", "Yes."], "ratings": [1, 5], "image": "a.png"}),
    ("distilabel", {"messages": [USER], "generations": ["No.", "Yes."], "ratings": [1.5, 5], "images": ["a.png"]}),
    (
        "distilabel",
        {"chosen": [USER, YES], "rejected": [USER, NO], "chosen_rating": 5, "rejected_rating": 1, "image": "a.png"},
    ),
    (
        "llava_rlhf",
        {
            "image": "a.png",
            "conversations": [HUMAN],
            "output_1": {"from": "llava", "value": "No."},
            "output_2": {"from": "llava", "value": "Yes."},
            "preference": 2,
        },
    ),
    ("ha_dpo", {"image_id": "a.png", "question": "What?", "chosen": ["Yes."], "rejected": ["No."]}),
    ("ha_dpo", {"image_id": "a.png", "chosen": {"question": "What?", "answer": "Yes."}, "reject": {"answer": "No."}}),
    ("sentinel", {"image_path": "a.png", "question": "What?", "context": "So.", "y_win": "Yes.", "y_lose": "No."}),
    ("povid", {"image": "a.png", "conversations": [HUMAN, GPT], "rejected_conversations": [HUMAN, WRONG]}),
    ("vlfeedback", {"prompt": "What?", "img_path": "a.png", "completions": [rated("Yes.", "5"), rated("No.", "1")]}),
    (
        "bpo",
        {
            "image": "a.png",
            "prompt": "What?",
            "completions": [{"response": "Yes.", "score": 2}, {"response": "No.", "score": 1}],
        },
    ),
    (
        "openai",
        {
            "input": {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "image_url", "image_url": {"url": "a.png"}},
                            {"type": "text", "text": "What?"},
                        ],
                    }
                ]
            },
            "preferred_output": [YES],
            "non_preferred_output": [NO],
        },
    ),
    ("mmpr", {"image": ["a.png"], "question": "What?", "chosen": "Yes.", "rejected": "No."}),
    (
        "argilla",
        {
            "image": "a.png",
            "prompt": "What?",
            "response_1": "No.",
            "response_2": "Yes.",
            "preference.responses": ["response_2"],
        },
    ),
    ("mm_rlhf", {"image": ["a.png"], "video": None, "prompt": "What?", "chosen": "Yes.", "rejected": "No."}),
    (
        "align_anything",
        {"image": ["a.png"], "question": "What?", "response_1": "No.", "response_2": "Yes.", "overall_response": 2},
    ),
]
