"""Which media sections share the one transport of a connection (RFC 8843), and what it is."""

from collections.abc import Collection, Sequence

from cloudslice.webrtc.media_attributes import Direction
from cloudslice.webrtc.negotiation import NegotiatedSection, Negotiation, Transport
from cloudslice.webrtc.remote_description import RemoteDescription
from cloudslice.webrtc.sdp import SdpError
from cloudslice.webrtc.transport_parameters import KNOWN_HASHES

NOT_BUNDLED = "not bundled with the others on one transport (RFC 8843)"


def choose_bundle(
    remote: RemoteDescription, wanted: Collection[str], connected: Collection[str]
) -> tuple[str, ...]:
    """The mids of the wanted sections that one transport carries, the one first that describes it.

    That is the first one of its BUNDLE group that is wanted and has a port: bundle-only sections
    have no transport of their own to describe (RFC 8843, 7.3.1).

    Args:
        remote: the description.
        wanted: mids of sections that are to be used.
        connected: mids of sections on the transport that there is; their group is preferred, then
            the one that carries most, then the first one.
    """
    bundled = {mid for bundle in remote.bundles for mid in bundle}
    alone = [(each.mid,) for each in remote.sections if each.mid not in bundled]
    with_port = {section.mid for section in remote.sections if section.port}
    wanted, connected = frozenset(wanted), frozenset(connected)
    choices = []
    for group in (*remote.bundles, *alone):
        members = [mid for mid in group if mid in wanted]
        tagged = next((mid for mid in members if mid in with_port), None)
        if tagged is not None:
            choices.append((tagged, *(mid for mid in members if mid != tagged)))
    return max(choices, key=lambda mids: (not connected.isdisjoint(mids), len(mids)), default=())


def join(
    remote: RemoteDescription,
    sections: Sequence[NegotiatedSection],
    mids: Sequence[str],
    former: Negotiation | None,
    *,
    we_are_dtls_server: bool,
) -> Negotiation:
    """The negotiation whose transport carries the sections `mids`, as `choose_bundle` gives them.

    Other sections are refused.

    Args:
        we_are_dtls_server: whether we are if the other side leaves it to us, and no association is
            there already.

    Raises:
        SdpError: the transport's ICE credentials or fingerprints are missing.
    """
    carried = frozenset(mids)
    kept = tuple(
        section if section.mid in carried or not section.is_taken else refuse(section, NOT_BUNDLED)
        for section in sections
    )
    if not mids:
        return Negotiation(kept, None)
    transport = _describe(remote, mids[0], former.transport if former else None, we_are_dtls_server)
    is_grouped = any(mids[0] in bundle for bundle in remote.bundles)
    return Negotiation(kept, transport, tuple(mids) if is_grouped else ())


def refuse(section: NegotiatedSection, reason: str) -> NegotiatedSection:
    """The section with port 0, and nothing agreed on."""
    return NegotiatedSection(
        section.index,
        section.mid,
        section.has_mid,
        section.kind,
        section.media_line,
        Direction.INACTIVE,
        refusal=reason,
    )


def obstacle(transport: Transport, *, we_are_ice_lite: bool) -> str:
    """Why no connection can be made to the other side; empty if one can."""
    if transport.is_ice_lite and we_are_ice_lite:
        return "is ICE-lite, and so are we: one side must be full ICE"
    if not any(each.is_known for each in transport.fingerprints):
        return f"has an a=fingerprint of none of {', '.join(sorted(KNOWN_HASHES))}"
    return ""


def _describe(
    remote: RemoteDescription, mid: str, former: Transport | None, we_are_dtls_server: bool
) -> Transport:
    parameters = next(each.transport for each in remote.sections if each.mid == mid)
    if parameters.ice is None:
        place = remote.not_understood("ice-ufrag", "ice-pwd")
        raise SdpError(f"no a=ice-ufrag or no a=ice-pwd{place}")
    if not parameters.fingerprints:
        raise SdpError(f"no a=fingerprint{remote.not_understood('fingerprint')}")
    if former and set(former.fingerprints) == set(parameters.fingerprints):
        # The association goes on, and with it the roles (RFC 8842, 5.5).
        we_are_dtls_server = former.we_are_dtls_server
    return Transport(
        mid,
        parameters.ice,
        remote.is_ice_lite,
        parameters.candidates,
        parameters.end_of_candidates,
        parameters.fingerprints,
        {"active": True, "passive": False}.get(parameters.setup, we_are_dtls_server),
    )
