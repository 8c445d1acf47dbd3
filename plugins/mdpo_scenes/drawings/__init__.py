"""How each kind of object is drawn: a few shapes of this project's own. Its name is one of COCO's categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mdpo_scenes.drawings.indoors import INDOORS
from mdpo_scenes.drawings.kitchen import FOOD, KITCHEN
from mdpo_scenes.drawings.outdoors import OUTDOORS, STREET
from mdpo_scenes.drawings.shapes import OWN, Shape

DRAWINGS: Mapping[str, Sequence[Shape]] = {**KITCHEN, **FOOD, **STREET, **OUTDOORS, **INDOORS}
# The kinds that come in several colours.
COLORED = tuple(kind for kind, shapes in DRAWINGS.items() if any(shape.color == OWN for shape in shapes))
