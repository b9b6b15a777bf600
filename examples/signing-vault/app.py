# SPDX-License-Identifier: Apache-2.0
"""A web service that hands out tokens, and never has the key that signs them.

``hotcalls serve vault.py --socket vault.sock`` runs the vault, and ``VAULT_SOCKET=vault.sock
uvicorn app:app --workers 2`` two processes that share it. Without VAULT_SOCKET the application
launches a vault of its own, which is right for one process.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

import hotcalls

HERE = Path(__file__).resolve().parent
#: A vault that does not answer in this time does not hold a request any longer.
SECONDS = 2.0


@contextlib.asynccontextmanager
async def vault_of_this_worker(app: Starlette) -> AsyncIterator[dict[str, Any]]:
    """Connect to the vault when the worker starts, and leave it when the worker ends."""
    socket = os.environ.get("VAULT_SOCKET")
    with (
        hotcalls.connect(socket, reconnect=True) if socket else hotcalls.launch(HERE / "vault.py")
    ) as vault:
        yield {"vault": vault}


async def issue(request: Request) -> Response:
    """Hand out a token. The vault decides what it signs; nothing is checked twice here."""
    try:
        wanted = await request.json()
        if not isinstance(wanted, dict):
            raise TypeError('expected an object, such as {"subject": "ann", "scope": "read"}')
        token = await request.state.vault.issue.options(timeout=SECONDS).aio(**wanted)
    except (TypeError, ValueError) as error:
        return JSONResponse({"error": str(error)}, 400)
    return JSONResponse({"token": token})


async def key(request: Request) -> Response:
    """Return the public key, with which anybody checks tokens."""
    return PlainTextResponse(await request.state.vault.public_key.aio())


async def unavailable(request: Request, error: Exception) -> Response:
    """Answer for a vault that is lost or too slow: not the client's fault."""
    return JSONResponse({"error": str(error)}, 503)


app = Starlette(
    routes=[Route("/tokens", issue, methods=["POST"]), Route("/key", key)],
    exception_handlers={
        hotcalls.EnclaveLost: unavailable,
        hotcalls.ConnectError: unavailable,
        hotcalls.CallTimeout: unavailable,
    },
    lifespan=vault_of_this_worker,
)
