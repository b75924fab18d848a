"""SRTP opens what is authentic, once, over roll-overs and in bounded memory."""

import resource

import pytest

from cloudslice.webrtc.srtp import (
    PROFILES,
    RepeatedPacketError,
    SrtpContext,
    SrtpError,
    SrtpProfile,
)
from helpers.native_peer import SrtpReader
from helpers.rtp import SSRC, rtp_packet

KEYING = bytes(range(88))


def pair(profile: SrtpProfile) -> tuple[SrtpContext, SrtpContext]:
    """A client's and a server's context."""
    material = KEYING[: 2 * (profile.key_length + profile.salt_length)]
    return (
        SrtpContext(profile.split(material, is_server=False)),
        SrtpContext(profile.split(material, is_server=True)),
    )


@pytest.mark.parametrize("profile", PROFILES, ids=lambda each: each.dtls_name.decode())
def test_what_one_side_protects_the_other_opens(profile: SrtpProfile) -> None:
    """In both directions, RTP and RTCP."""
    client, server = pair(profile)
    rtcp = bytes.fromhex("80c9000100000001")
    for sender, receiver in ((client, server), (server, client)):
        packet = rtp_packet(1, 2, b"media")
        assert SrtpReader(receiver).open(sender.protect(packet)) == packet
        assert receiver.unprotect_rtcp(sender.protect_rtcp(rtcp)) == rtcp


def test_keys_are_cut_as_rfc_5764_says() -> None:
    """4.2: client key, server key, client salt, server salt."""
    keys = SrtpProfile(b"x", 1, key_length=2, salt_length=1).split(b"CcSsab", is_server=True)
    assert (keys.remote, keys.local) == (b"Cca", b"Ssb")
    assert "Cca" not in repr(keys)


def test_keys_agree_with_rfc_3711() -> None:
    """Appendix B.2's master key and salt give the packet that libsrtp's own tests expect."""
    profile = next(each for each in PROFILES if each.dtls_name == b"SRTP_AES128_CM_SHA1_80")
    key = bytes.fromhex("E1F97A0D3E018BE0D64FA32C06DE4139")
    salt = bytes.fromhex("0EC675AD498AFEEBB6960B3AABE6")
    client = SrtpContext(profile.split(key + key + salt + salt, is_server=False))
    packet = bytes.fromhex("800f1234decafbadcafebabe" + "ab" * 16)
    expected = "800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb"
    assert client.protect(packet).hex() == expected


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda packet: packet[:-1] + bytes([packet[-1] ^ 1]), id="tag"),
        pytest.param(lambda packet: packet[:20] + b"x" + packet[21:], id="payload"),
        pytest.param(lambda packet: packet[:3] + b"\x07" + packet[4:], id="sequence"),
        pytest.param(lambda packet: packet[:-4], id="cut off"),
        pytest.param(lambda packet: packet[:12], id="header alone"),
        pytest.param(lambda packet: packet[:5], id="half a header"),
        pytest.param(lambda packet: b"\xbf" + packet[1:], id="other flags"),
        pytest.param(lambda _packet: b"", id="empty"),
        pytest.param(lambda packet: packet * 15, id="long"),
    ],
)
def test_what_is_not_authentic_is_refused(spoil: object) -> None:
    """And told apart from what was there before."""
    client, server = pair(PROFILES[0])
    packet = spoil(client.protect(rtp_packet(1, 2, bytes(50))))  # type: ignore[operator]
    reader = SrtpReader(server)
    assert reader.open(packet) is None
    assert (reader.state.not_authentic, reader.state.repeated) == (len(packet) >= 12, 0)
    with pytest.raises(SrtpError) as refused:
        server.unprotect_rtcp(packet)
    assert not isinstance(refused.value, RepeatedPacketError)


def test_repeated_packets_are_refused_as_such() -> None:
    """Retransmissions of what came after all."""
    client, server = pair(PROFILES[0])
    packet = client.protect(rtp_packet(1, 2))
    assert packet == client.protect(rtp_packet(1, 2))
    reader = SrtpReader(server)
    assert reader.open(packet) == rtp_packet(1, 2)
    assert reader.open(packet) is None
    assert (reader.state.not_authentic, reader.state.repeated) == (0, 1)


def test_packets_from_before_the_replay_window_are_repeated_ones() -> None:
    """Whether they were there before, nobody knows any more."""
    client, server = pair(PROFILES[0])
    reader = SrtpReader(server)
    late = client.protect(rtp_packet(10, 2))
    for sequence in range(11, 2200):
        assert reader.open(client.protect(rtp_packet(sequence, 2))) is not None
    assert reader.open(late) is None
    assert (reader.state.not_authentic, reader.state.repeated) == (0, 1)


def test_repeated_rtcp_is_refused_as_such() -> None:
    client, server = pair(PROFILES[0])
    packet = client.protect_rtcp(bytes.fromhex("80c9000100000001"))
    server.unprotect_rtcp(packet)
    with pytest.raises(RepeatedPacketError):
        server.unprotect_rtcp(packet)


def test_a_retransmission_behind_2000_packets_is_taken() -> None:
    """The replay window is long enough for high bitrates."""
    client, server = pair(PROFILES[0])
    reader = SrtpReader(server)
    late = client.protect(rtp_packet(10, 2))
    for sequence in range(11, 2010):
        assert reader.open(client.protect(rtp_packet(sequence, 2))) is not None
    assert reader.open(late) == rtp_packet(10, 2)


def test_roll_overs_are_followed_when_most_packets_go_unread() -> None:
    """RFC 3711, 3.3.1: one packet in 4096 keeps count of the 16-bit sequence numbers."""
    client, server = pair(PROFILES[0])
    reader = SrtpReader(server)
    for sequence in range(60_000, 270_000):
        packet = client.protect(rtp_packet(sequence, 2))
        if sequence % 4096 == 0:
            assert reader.open(packet) == rtp_packet(sequence, 2)


def test_forgotten_ssrcs_cost_no_memory() -> None:
    """A peer may make up new ones for ever."""
    client, server = pair(PROFILES[0])
    reader = SrtpReader(server)

    def receive(ssrcs: range) -> int:
        for ssrc in ssrcs:
            assert reader.open(client.protect(rtp_packet(1, 2, ssrc=ssrc))) is not None
            server.forget(ssrc)
            client._outbound.remove_stream(ssrc)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = receive(range(1, 3000))
    assert receive(range(3000, 30_000)) < before + 4096  # KiB; 27,000 streams take 25 MB
    server.forget(12345)  # never heard of: harmless


def test_a_stream_that_is_expected_after_a_roll_over_is_opened() -> None:
    """RFC 3711, 3.3.1: its sender has counted one, and all before it were lost."""
    client, server = pair(PROFILES[0])
    reader = SrtpReader(server)
    sent = [client.protect(rtp_packet(sequence, 2)) for sequence in range(65_530, 65_545)]
    assert reader.open(sent[10]) is None
    server.expect(SSRC, 1)
    assert reader.open(sent[11]) == rtp_packet(65_541, 2)
    assert reader.open(sent[3]) == rtp_packet(65_533, 2), "from before it, but late"
    assert reader.state.not_authentic == 1
