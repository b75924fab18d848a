"""The SDP answer by which we receive what an offer sends (RFC 8866, RFC 9429)."""

import secrets
from collections.abc import Sequence

from cloudslice.rtp.dtls import Fingerprint
from cloudslice.rtp.ice import IceCredentials
from cloudslice.rtp.sdp import Codec, MediaPlan, Offer

_START_BITRATE_KBPS = 1200
"""What Chromium and Safari begin with, if told so: with their own 300 kbit/s they begin with a
quarter of the camera's pixels, and measured, take ten seconds and more to come back to all."""


def make_answer(
    offer: Offer,
    *,
    ice: IceCredentials,
    fingerprint: Fingerprint,
    candidates: Sequence[tuple[str, int]],
    max_video_bitrate_kbps: int,
) -> str:
    """The answer that takes what `offer.media` plans.

    Args:
        ice: our side's ufrag and password.
        fingerprint: our certificate's.
        candidates: the addresses and UDP ports that we are reached at, the best one first.
        max_video_bitrate_kbps: what the sender will be told by REMB.
    """
    taken = {plan.mid: plan for plan in offer.media}
    # RFC 8843, 7.3: no group where the offer has none; the section with the transport is first.
    group = ["a=group:BUNDLE " + " ".join(taken)] if offer.is_bundled else []
    lines = [
        "v=0",
        f"o=- {secrets.randbits(62)} 1 IN IP4 0.0.0.0",
        "s=-",
        "t=0 0",
        *group,
        "a=ice-lite",
        "a=msid-semantic: WMS *",
    ]
    for section in offer.sections:
        plan = taken.get(section.mid)
        if plan is None:
            lines += [
                f"m={section.kind} 0 {section.protocol} {section.first_format}",
                "c=IN IP4 0.0.0.0",
                "a=inactive",
                f"a=mid:{section.mid}",
            ]
        else:
            formats = " ".join(str(codec.payload_type) for codec in plan.codecs)
            lines.append(f"m={section.kind} 9 {section.protocol} {formats}")
            lines += _taken_section(plan, offer, ice, fingerprint, max_video_bitrate_kbps)
            lines += candidate_lines(candidates)
    return "\r\n".join(lines) + "\r\n"


def _taken_section(
    plan: MediaPlan,
    offer: Offer,
    ice: IceCredentials,
    fingerprint: Fingerprint,
    max_video_bitrate_kbps: int,
) -> list[str]:
    lines = ["c=IN IP4 0.0.0.0", "a=recvonly", f"a=mid:{plan.mid}", "a=rtcp-mux"]
    lines += [f"a=extmap:{identifier} {uri}" for identifier, uri in plan.extensions]
    for codec in plan.codecs:
        channels = f"/{codec.channels}" if codec.channels else ""
        lines.append(f"a=rtpmap:{codec.payload_type} {codec.name}/{codec.clock_rate}{channels}")
        if text := _answer_parameters(codec, max_video_bitrate_kbps):
            lines.append(f"a=fmtp:{codec.payload_type} {text}")
        lines += [
            f"a=rtcp-fb:{codec.payload_type} {name}{f' {value}' if value else ''}"
            for name, value in codec.feedback
        ]
    return [
        *lines,
        f"a=ice-ufrag:{ice.ufrag}",
        f"a=ice-pwd:{ice.password}",
        f"a=fingerprint:{fingerprint.algorithm} {fingerprint.value}",
        f"a=setup:{'passive' if offer.we_are_dtls_server else 'active'}",
    ]


def candidate_lines(candidates: Sequence[tuple[str, int]]) -> list[str]:
    """Our host candidates (RFC 8839, 5.1), the first with the highest priority."""
    lines = []
    for rank, (host, port) in enumerate(candidates, start=1):
        priority = (126 << 24) + ((65535 - rank) << 8) + 255  # RFC 8445, 5.1.2.1
        lines.append(f"a=candidate:{rank} 1 udp {priority} {host} {port} typ host")
    return [*lines, "a=end-of-candidates"]


def _answer_parameters(codec: Codec, max_video_bitrate_kbps: int) -> str:
    if codec.video is not None:
        names = ("level-asymmetry-allowed", "packetization-mode", "profile-level-id")
        kept = [f"{name}={value}" for name in names if (value := codec.parameter(name))]
        start_kbps = min(_START_BITRATE_KBPS, max_video_bitrate_kbps)
        return ";".join([*kept, f"x-google-start-bitrate={start_kbps}"])
    # What the sender says that it would send (sprop-stereo), it may.
    stereo = ";stereo=1" if codec.parameter("sprop-stereo") == "1" else ""
    return f"minptime=10;useinbandfec=1{stereo}"
