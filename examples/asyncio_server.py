"""Holdall embedded in asyncio streams: `python examples/asyncio_server.py [port]`.

The stores run in threads, off the event loop; a session in the cookie needs none.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from typing import TypeAlias

from holdall import (
    AsyncStoresLike,
    Session,
    SessionManager,
    SessionUnavailable,
    arun,
    current_session,
    generate_key,
)
from holdall_stores import default_stores, in_threads

Answer: TypeAlias = tuple[int, list[tuple[str, str]], Iterable[bytes]]
View: TypeAlias = Callable[[str, Session], Awaitable[Answer]]


async def start(view: View, manager: SessionManager, stores: AsyncStoresLike, port: int = 0) -> asyncio.Server:
    """Serve on 127.0.0.1, in the loop that runs; port 0 is any free one."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        exchange = manager.open([value for name, value in fields if name == "cookie"])
        current_session.set(exchange.session)  # this task's own: each connection has its context
        saved = True
        try:
            await arun(exchange.load(), stores)
            status, headers, body = await view(request.split(" ")[1], exchange.session)
            headers = await arun(exchange.commit(status=status, headers=headers), stores)
        except SessionUnavailable:
            status, headers, body = 503, [("Retry-After", "5")], [b"Please try again in a moment.\n"]
        except Exception:
            saved = False
            status, headers, body = 500, [], [b"Something went wrong.\n"]
        head = [f"HTTP/1.0 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in headers)]
        writer.write("\r\n".join([*head, "", ""]).encode("latin-1"))
        for chunk in body:
            writer.write(chunk)
            await writer.drain()
        if saved:
            await arun(exchange.finish(), stores)
        writer.close()
        await writer.wait_closed()

    return await asyncio.start_server(talk, "127.0.0.1", port)


async def count(path: str, session: Session) -> Answer:
    """Count visits to the front page."""
    if path != "/":
        return 404, [], [b"There is only the front page.\n"]
    session["n"] = session.get("n", 0) + 1
    return 200, [("Content-Type", "text/plain")], [f"visit {session['n']}\n".encode()]


async def main() -> None:
    """Serve until interrupted."""
    port = int((sys.argv[1:] or ["0"])[0])
    server = await start(count, SessionManager(generate_key()), in_threads(default_stores()), port)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
