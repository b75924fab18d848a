"""What our requests by aiohttp have in common."""

from functools import partial
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp.client_proto import ResponseHandler
from yarl import URL

_END_OF_HEAD = b"\r\n\r\n"


def find_proxy(url: URL) -> URL | None:
    """The environment's proxy for a URL (HTTP_PROXY, NO_PROXY and the like), if there is one.

    Not by aiohttp's `trust_env`: it asks on another thread, before each request, which took more
    CPU than the request; and it would add credentials of a .netrc.
    """
    address = None if proxy_bypass(url.host or "") else getproxies().get(url.scheme)
    return URL(address) if address else None


class Proxies:
    """Proxies of the environment, each looked up once: a start opens a store for each task."""

    def __init__(self) -> None:
        self._found: dict[URL, URL | None] = {}

    def find(self, url: URL) -> URL | None:
        """See `find_proxy`."""
        origin = url.origin()
        if origin not in self._found:
            self._found[origin] = find_proxy(origin)
        return self._found[origin]


class HeadFirstConnector(aiohttp.TCPConnector):
    """Connections, in any number, of which an answer's head is told whatever follows it."""

    def __init__(self, *, keep_idle_s: float = 15.0) -> None:
        """Takes the seconds that an idle connection is kept; with 0 none is used again."""
        if keep_idle_s:
            super().__init__(limit=0, keepalive_timeout=keep_idle_s)
        else:
            super().__init__(limit=0, force_close=True)
        # aiohttp has no other way to choose it.
        handler: type[ResponseHandler] = _HeadFirst
        self._factory = partial(handler, loop=self._loop)


class _HeadFirst(ResponseHandler):
    """Parses a head apart from what came with it: aiohttp forgets it if that has an error."""

    def data_received(self, data: bytes) -> None:
        head, end, rest = data.partition(_END_OF_HEAD)
        super().data_received(head + end)
        if rest:
            super().data_received(rest)
