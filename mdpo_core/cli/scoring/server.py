"""The options of `mdpo answer` for a model behind a server."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from mdpo_core.cli.arguments import count, not_negative, positive

if TYPE_CHECKING:
    from mdpo_core.benchmarking.server_model import ServerModel
    from mdpo_core.interfaces.model import Decoding

_KEY = "OPENAI_API_KEY"
_TIMEOUT, _RETRIES, _WAIT = 600.0, 6, 2.0


def add_server_options(command: argparse.ArgumentParser) -> None:
    """Add the options that go with ``--server``."""
    group = command.add_argument_group("with --server")
    group.add_argument("--server-model", metavar="NAME", help="the model to ask (default: the only one that it lists)")
    group.add_argument("--server-accept", metavar="NAME", help="another name of the model, which its answers may have")
    group.add_argument("--server-key-env", metavar="NAME", help=f"environment variable with the key (default: {_KEY})")
    group.add_argument(
        "--server-timeout", type=positive, metavar="S", help=f"seconds to wait for an answer (default: {_TIMEOUT:g})"
    )
    group.add_argument(
        "--server-retries", type=count, metavar="N", help=f"attempts after the first one (default: {_RETRIES})"
    )
    group.add_argument(
        "--server-wait",
        type=not_negative,
        metavar="S",
        help=f"seconds before the second one; then twice as many (default: {_WAIT:g})",
    )


def server_model(options: argparse.Namespace, decoding: Decoding) -> ServerModel:
    """The model behind the server. Raises `RecipeError` if an option is wrong, or the model is not known."""
    from mdpo_core.benchmarking.server_model import model_on
    from mdpo_core.servers.client import ChatServer, Patience, ServerAddress

    address = ServerAddress(options.server, options.server_key_env or _KEY)
    patience = Patience(
        _TIMEOUT if options.server_timeout is None else options.server_timeout,
        _RETRIES if options.server_retries is None else options.server_retries,
        _WAIT if options.server_wait is None else options.server_wait,
    )
    server = ChatServer(address, patience, may_be_empty=True)
    return model_on(server, options.server_model, options.server_accept, decoding)


def require_server(options: argparse.Namespace) -> None:
    """Raise `RecipeError` if there are options of a server, and no server."""
    from mdpo_core.errors import RecipeError

    for name, value in vars(options).items():
        if name.startswith("server_") and value is not None:
            raise RecipeError(f"--{name.replace('_', '-')} goes with --server URL, not with --model")
