"""From where calls may come."""

from ipaddress import IPv6Address, ip_address

from cloudslice.api.errors import ApiError, Code, Phrase
from cloudslice.config import ApiSettings

_BLOCKED = Phrase("Calls from {address} are blocked.", "来自 {address} 的请求已被禁止。")
_UNREADABLE = Phrase(
    "Calls from {address}, which is no IP address, are not allowed; see X-Forwarded-For.",
    "不允许来自 {address} 的请求：不是 IP 地址，请检查 X-Forwarded-For。",
)
_NOT_ALLOWED = Phrase("Calls from {address} are not allowed.", "不允许来自 {address} 的请求。")


def check_caller(address: str, settings: ApiSettings) -> None:
    """Check the IP address that a call comes from; empty where the server knows none.

    Args:
        address: of the client, or what a trusted proxy says of it, which may be anything.
        settings: which addresses are allowed and blocked.

    Raises:
        ApiError: it is blocked, or is not among the allowed ones.
    """
    if not settings.blocked_addresses and not settings.allowed_addresses:
        return
    if not address:
        raise ApiError(Code.IP_NOT_IN_WHITELIST, _NOT_ALLOWED, address="?")
    try:
        caller = ip_address(address)
    except ValueError:
        raise ApiError(Code.IP_NOT_IN_WHITELIST, _UNREADABLE, address=address[:100]) from None
    if isinstance(caller, IPv6Address) and caller.ipv4_mapped is not None:
        caller = caller.ipv4_mapped
    if any(caller in network for network in settings.blocked_addresses):
        raise ApiError(Code.IP_IN_BLACKLIST, _BLOCKED, address=address)
    allowed = settings.allowed_addresses
    if allowed and not any(caller in network for network in allowed):
        raise ApiError(Code.IP_NOT_IN_WHITELIST, _NOT_ALLOWED, address=address)
