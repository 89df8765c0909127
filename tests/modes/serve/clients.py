"""What tests ask an application of `mml serve`, without a socket."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx


def ask(
    app: Any, method: str, path: str, *, client: str = "127.0.0.1", host: str = "localhost", **words: Any
) -> httpx.Response:
    """The answer to one request.

    Args:
        app: The application.
        method: As `GET`.
        path: As `/predict`.
        client: The address that it comes from.
        host: The `Host` that it is for.
        words: As `httpx.AsyncClient.request` takes them.
    """

    async def answer() -> httpx.Response:
        transport = httpx.ASGITransport(app=app, client=(client, 5000), raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as asking:
            return await asking.request(method, path, headers={"host": host, **words.pop("headers", {})}, **words)

    return asyncio.run(answer())
