"""The hub: names, tokens, and one commit with all files. What goes wrong is a sentence."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mdpo_core.errors import MdpoError, RecipeError, first_line

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_NO_TOKEN = "run hf auth login, or set HF_TOKEN; --dry-run and --card-only need no token"
_REFUSALS = {
    401: "the hub does not accept the token; run hf auth login again",
    403: "the token may not write there; choose a name of your own, or a token with the role 'write'",
    404: "the hub does not have it, or the token may not see it",
    409: "something else has this name, or the repository changed meanwhile; try again",
}


def require_name(name: str, option: str = "") -> None:
    """Raise `RecipeError` unless a name is ``OWNER/NAME`` or ``NAME``."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise RecipeError(
            f"{option}'{name}' is not a name on the hub; write OWNER/NAME, or NAME alone, with letters, digits, '-', "
            "'_' and '.'"
        ) from error


def require_token() -> None:
    """Raise `RecipeError` if this user has no token."""
    import huggingface_hub

    if huggingface_hub.get_token() is None:
        raise RecipeError(f"the hub needs a token to know who uploads: {_NO_TOKEN}")


def upload(name: str, files: Mapping[str, Path | bytes], *, private: bool, revision: str | None) -> str:
    """Upload all files in one commit. Returns the address. Nothing changes there if it fails before its end."""
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)
    with _refused(name), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the hub's words about the card's placeholders
        made = api.create_repo(name, private=private or None, exist_ok=True)
        if private:
            _require_private(api, made.repo_id)
        if revision is not None:
            api.create_branch(made.repo_id, branch=revision, exist_ok=True)
        operations = [CommitOperationAdd(path, file) for path, file in sorted(files.items())]
        message = "Upload a model that mdpo trained"
        api.create_commit(made.repo_id, operations, commit_message=message, revision=revision)
    return str(made)


def _require_private(api: HfApi, name: str) -> None:
    """A repository that existed keeps who may see it."""
    if not api.model_info(name).private:
        raise RecipeError(f"'{name}' exists and is public; make it private on the hub, or choose another name")


@contextmanager
def _refused(name: str) -> Iterator[None]:
    """Errors of the hub and of the network as sentences."""
    from huggingface_hub import errors

    try:
        yield
    except errors.OfflineModeIsEnabled as error:
        raise RecipeError("HF_HUB_OFFLINE is set, so nothing is uploaded; unset it") from error
    except errors.HfHubHTTPError as error:
        code = error.response.status_code if error.response is not None else 0
        said = error.server_message or first_line(error)
        raise MdpoError(f"the hub refuses '{name}': {_REFUSALS.get(code, 'try again later')} ({said})") from error
    except (errors.HTTPError, OSError, RuntimeError) as error:  # type: ignore[attr-defined]  # httpx's, or httpx2's
        raise MdpoError(
            f"'{name}' was not uploaded: the hub does not answer ({first_line(error)}); check the network, and start "
            "the same command again"
        ) from error
    except ValueError as error:
        raise MdpoError(f"the hub refuses '{name}': {first_line(error)}") from error
