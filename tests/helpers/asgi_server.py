"""An ASGI application on a real port of this machine."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn

from cloudslice.http_server import HttpServer


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[int]:
    """Serve `app` on 127.0.0.1; gives the port, which takes connections already."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = HttpServer(app)
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve(sockets=[listener]))
            try:
                yield listener.getsockname()[1]
            finally:
                server.stop()


@contextmanager
def serving_in_thread(app: Any) -> Iterator[int]:
    """The same, by uvicorn alone, on an event loop of its own: it may outlive a test."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()
