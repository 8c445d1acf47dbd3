"""The drawings of what stands in kitchens and lies on tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mdpo_scenes.drawings.shapes import DARK, OWN, STEEL, WOOD, Shape, block, line, oval, polygon

KITCHEN: Mapping[str, Sequence[Shape]] = {
    "oven": (
        block(0.12, 0.1, 0.88, 0.92, "#e8e8e8"),
        block(0.2, 0.4, 0.8, 0.82, DARK),
        block(0.3, 0.5, 0.7, 0.72, "#ff8c1a"),
        oval(0.2, 0.17, 0.34, 0.31, "#d02020"),
        oval(0.66, 0.17, 0.8, 0.31, "#d02020"),
    ),
    "sink": (
        polygon(STEEL, 0.05, 0.5, 0.95, 0.5, 0.8, 0.9, 0.2, 0.9),
        line("#6c7a86", 0.09, 0.5, 0.5, 0.5, 0.15, 0.72, 0.15, 0.72, 0.3),
        oval(0.66, 0.34, 0.8, 0.48, "#2080ff"),
    ),
    "refrigerator": (
        block(0.24, 0.02, 0.76, 0.98, "#d8f0f8"),
        block(0.24, 0.36, 0.76, 0.41, "#506070"),
        block(0.3, 0.12, 0.37, 0.3, "#506070"),
        block(0.3, 0.48, 0.37, 0.72, "#506070"),
    ),
    "microwave": (
        block(0.04, 0.24, 0.96, 0.8, "#50545c"),
        block(0.1, 0.32, 0.66, 0.72, "#40e0d0"),
        oval(0.74, 0.34, 0.9, 0.5, "white"),
        oval(0.74, 0.56, 0.9, 0.72, "white"),
    ),
    "toaster": (
        block(0.22, 0.1, 0.42, 0.5, "#e0a860"),
        block(0.54, 0.1, 0.74, 0.5, "#e0a860"),
        block(0.1, 0.4, 0.86, 0.86, "#c83040"),
        block(0.86, 0.5, 0.96, 0.6, DARK),
    ),
    "bowl": (
        polygon(OWN, 0.04, 0.42, 0.96, 0.42, 0.76, 0.86, 0.24, 0.86),
        oval(0.04, 0.3, 0.96, 0.54, "white"),
    ),
    "cup": (
        oval(0.54, 0.34, 0.94, 0.76, OWN),
        oval(0.64, 0.44, 0.84, 0.66, "white"),
        block(0.16, 0.22, 0.68, 0.88, OWN),
        oval(0.16, 0.14, 0.68, 0.3, "#5a3018"),
    ),
    "knife": (
        polygon(STEEL, 0.42, 0.04, 0.6, 0.2, 0.6, 0.62, 0.42, 0.62),
        block(0.4, 0.62, 0.6, 0.98, DARK),
    ),
}

FOOD: Mapping[str, Sequence[Shape]] = {
    "pizza": (
        polygon("#d89040", 0.04, 0.16, 0.96, 0.16, 0.5, 0.98),
        polygon("#ffd84a", 0.14, 0.26, 0.86, 0.26, 0.5, 0.9),
        oval(0.28, 0.3, 0.48, 0.5, "#d02018"),
        oval(0.54, 0.32, 0.74, 0.52, "#d02018"),
        oval(0.42, 0.54, 0.6, 0.72, "#d02018"),
    ),
    "cake": (
        block(0.12, 0.46, 0.88, 0.9, "#6a3418"),
        block(0.12, 0.38, 0.88, 0.54, "#ff9ac8"),
        block(0.46, 0.12, 0.54, 0.38, "white"),
        oval(0.42, 0.0, 0.58, 0.16, "#ffb000"),
    ),
    "fork": (
        block(0.45, 0.4, 0.55, 0.98, STEEL),
        block(0.3, 0.34, 0.7, 0.44, STEEL),
        block(0.3, 0.02, 0.37, 0.4, STEEL),
        block(0.465, 0.02, 0.535, 0.4, STEEL),
        block(0.63, 0.02, 0.7, 0.4, STEEL),
    ),
    "spoon": (oval(0.3, 0.02, 0.7, 0.5, "#f0c850"), block(0.45, 0.46, 0.55, 0.98, "#f0c850")),
    "bottle": (
        block(0.42, 0.02, 0.58, 0.12, "#d02020"),
        block(0.43, 0.1, 0.57, 0.36, "#187838"),
        block(0.3, 0.34, 0.7, 0.98, "#187838"),
        block(0.3, 0.54, 0.7, 0.76, "white"),
    ),
    "apple": (
        oval(0.12, 0.26, 0.88, 0.94, "#e01828"),
        line(WOOD, 0.07, 0.5, 0.3, 0.54, 0.06),
        oval(0.54, 0.06, 0.84, 0.24, "#30b030"),
    ),
    "banana": (
        polygon("#ffe020", 0.1, 0.12, 0.24, 0.12, 0.4, 0.5, 0.94, 0.66, 0.92, 0.82, 0.5, 0.86, 0.16, 0.6),
        block(0.1, 0.06, 0.24, 0.16, "#705010"),
    ),
}
