"""`mdpo push`: a run's model on the hub, with a card that says how it was made."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HELP = "upload a run's model to the hub, with a model card"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the options of `mdpo push`."""
    command.add_argument("run", type=Path, metavar="RUN", help="a run directory")
    command.add_argument("name", metavar="NAME", help="where to: OWNER/NAME, or NAME for yourself")
    command.add_argument("--best", action="store_true", help="upload best/ instead of final/")
    command.add_argument(
        "--base", metavar="OWNER/NAME", help="what the hub calls the model that was trained, if the run read a folder"
    )
    command.add_argument("--private", action="store_true", help="make a new repository private")
    command.add_argument("--revision", metavar="BRANCH", help="the branch to upload to; it is made (default: main)")
    command.add_argument("--card-only", type=Path, metavar="FILE", help="write the card to a new FILE; upload nothing")
    command.add_argument("--dry-run", action="store_true", help="print the card and what would be uploaded")


def push(options: argparse.Namespace) -> int:
    """`mdpo push`: upload the model, or only show what would be uploaded."""
    from mdpo_core.cli.sharing.card import card_of
    from mdpo_core.cli.sharing.hub import require_name, require_token, upload
    from mdpo_core.cli.sharing.shared import shared_model

    require_name(options.name)
    if options.base is not None:
        require_name(options.base, "--base ")
    writes = options.card_only is None and not options.dry_run
    shared = shared_model(options.run, options.base, best=options.best, complete=writes)
    if writes:
        require_token()
    card = card_of(shared, options.name)
    if options.card_only is not None:
        return _write_card(options.card_only, card)
    files = {**shared.files(), "README.md": card.encode()}
    if options.dry_run:
        size = sum(len(file) if isinstance(file, bytes) else file.stat().st_size for file in files.values())
        print(f"{card}\nwould upload {', '.join(sorted(files))} ({size / 1e6:.1f} MB) to {options.name}")  # noqa: T201
        return 0
    url = upload(options.name, files, private=options.private, revision=options.revision)
    print(f"{url}: uploaded {shared.folder}; fill in the licence in its README.md")  # noqa: T201
    return 0


def _write_card(file: Path, card: str) -> int:
    from mdpo_core.errors import RecipeError

    try:
        with file.open("x") as out:
            out.write(card)
    except FileExistsError as error:
        raise RecipeError(f"--card-only {file}: the file exists; choose another name, or remove it") from error
    print(f"{file}: the model card; nothing was uploaded", file=sys.stderr)  # noqa: T201
    return 0
