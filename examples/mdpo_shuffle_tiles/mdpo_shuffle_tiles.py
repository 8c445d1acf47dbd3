from pydantic import Field

from mdpo_core import ImageCorruption, hookimpl


class ShuffleTiles(ImageCorruption):
    """Shuffles the tiles of a grid: what is in the picture stays in it, and nothing is where it was."""

    tiles: int = Field(default=4, ge=2, description="tiles in a row and in a column, of as many pixels as there are")

    def __call__(self, image, rng):
        columns, rows = (min(self.tiles, side) for side in image.size)
        width, height = image.width // columns, image.height // rows
        places = [(width * column, height * row) for row in range(rows) for column in range(columns)]
        shuffled = image.copy()
        for (left, top), place in zip(rng.sample(places, len(places)), places, strict=True):
            shuffled.paste(image.crop((left, top, left + width, top + height)), place)
        return shuffled


@hookimpl
def mdpo_components():
    return {"shuffle_tiles": ShuffleTiles}
