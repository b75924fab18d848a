"""The proxy that the environment names (HTTP_PROXY, NO_PROXY and the like)."""

from urllib.request import getproxies, proxy_bypass

from yarl import URL


def find_proxy(url: URL) -> URL | None:
    """The proxy for a URL, if there is one.

    Not by aiohttp's `trust_env`: it asks on another thread, before each request, which took more
    CPU than the request; and it would add credentials of a .netrc.
    """
    address = None if proxy_bypass(url.host or "") else getproxies().get(url.scheme)
    return URL(address) if address else None
