"""The streams of a peer connection: which SSRC each receiver has, and what comes of it.

A receiver receives one SSRC at a time. Its stream is the native library's, made and freed here.
"""

from collections import Counter
from collections.abc import Mapping

from cloudslice.media.tracks import OpusRun
from cloudslice.webrtc.audio_receiver import AudioReceiver
from cloudslice.webrtc.demultiplexer import Demultiplexer
from cloudslice.webrtc.native.native_port import NativePeer, NativeStream, StreamKind
from cloudslice.webrtc.negotiation import NegotiatedSection, Negotiation
from cloudslice.webrtc.receiver import Receiver, ReceiverHooks
from cloudslice.webrtc.receivers import make_receiver
from cloudslice.webrtc.rtcp import Goodbye, SenderReport
from cloudslice.webrtc.rtp_packet import RtpPacket
from cloudslice.webrtc.srtp import SrtpContext
from cloudslice.webrtc.udp.port import UdpPort
from cloudslice.webrtc.video_receiver import VideoReceiver


class Streams:
    """Receives the media of one connection.

    Args:
        port: where it comes in.
        peer: the connection's part in the native library.
        hooks: what receivers need of the connection.
        announced_only: see `ReceivePolicy`.
    """

    def __init__(
        self,
        port: UdpPort,
        peer: NativePeer,
        hooks: ReceiverHooks,
        *,
        announced_only: bool = False,
    ) -> None:
        self._port = port
        self._peer = peer
        self._hooks = hooks
        self._srtp: SrtpContext | None = None
        self._receivers: dict[str, Receiver] = {}
        self._sections: dict[str, NegotiatedSection] = {}
        self._tracks: dict[int, Receiver] = {}
        """By the number that the native library knows the receiver's stream by."""
        self._streams: dict[int, NativeStream] = {}
        """By the same number."""
        self._last_track = 0
        self._expected: int | None = None
        """The SSRC that SRTP keeps a roll-over counter of 1 for, though nothing of it was authentic
        yet."""
        self._demultiplexer = Demultiplexer(announced_only=announced_only)
        self._former = Counter[str]()
        """What receivers have counted that are gone."""

    @property
    def receivers(self) -> Mapping[str, Receiver]:
        """By mid, in the order of the sections, what receives each section that is taken."""
        return self._receivers

    @property
    def counts(self) -> Counter[str]:
        """What was received and what was dropped so far, by a name that says it."""
        total = self._former.copy()
        for receiver in self._receivers.values():
            total.update(receiver.counts)
        return total

    def negotiate(self, negotiation: Negotiation) -> None:
        """Receive what was agreed on: a section that goes on keeps its receiver, paused or not."""
        receivers: dict[str, Receiver] = {}
        for section in negotiation.taken:
            receiver = self._receivers.get(section.mid)
            if receiver is not None and _goes_on(self._sections[section.mid], section):
                receivers[section.mid] = receiver
            elif section.direction.receives:
                receivers[section.mid] = make_receiver(section, self._hooks)
        for mid, receiver in self._receivers.items():
            if receivers.get(mid) is not receiver:
                self._replace(receiver, ssrc_may_go_on=mid in receivers)
        self._receivers = receivers
        self._sections = {each.mid: each for each in negotiation.taken if each.mid in receivers}
        self._place()

    def renew(self, mid: str) -> Receiver | None:
        """A new receiver for a section: somebody else's media follows in it, perhaps on the same
        SSRC, and is not to be taken for the former one's.

        What has come of the section is handed out by its former receiver before. None: there is no
        such section, or it is not received.
        """
        former = self._receivers.get(mid)
        if former is None:
            return None
        receiver = self._receivers[mid] = make_receiver(self._sections[mid], self._hooks)
        self._replace(former, ssrc_may_go_on=True)
        self._place()
        return receiver

    def use_keys(self, srtp: SrtpContext) -> None:
        """Open packets by these keys from now on; streams begin anew."""
        self.stop()
        self._srtp, self._expected = srtp, None
        self._peer.set_srtp(srtp)

    def stop(self) -> None:
        """Hand out what has come, and receive nothing until more comes."""
        for receiver in self._receivers.values():
            self._stop(receiver)

    def on_run(self, track: int, run: OpusRun) -> None:
        """The next Opus packets of a track."""
        receiver = self._tracks.get(track)
        if isinstance(receiver, AudioReceiver):
            receiver.on_run(run)

    def on_packet(self, track: int, packet: RtpPacket) -> None:
        """A packet of a video that is read."""
        receiver = self._tracks.get(track)
        if isinstance(receiver, VideoReceiver):
            receiver.on_packet(packet)

    def on_missing(self, track: int, sequences: tuple[int, ...]) -> None:
        """Packets of a track are to be asked for again."""
        receiver = self._tracks.get(track)
        if receiver is not None:
            receiver.ask_again(sequences)

    def on_unknown(self, ssrc: int, packet: RtpPacket) -> None:
        """An authentic packet of an SSRC that nobody receives."""
        if ssrc == self._expected:
            self._expected = None
        receiver = self._demultiplexer.find(ssrc, packet, packet.arrival)
        if receiver is not None:
            if receiver.ssrc is not None:
                self._demultiplexer.replaced(receiver.ssrc)
                self._stop(receiver)
            self._start(receiver, ssrc)
        elif self._srtp is not None:
            self._srtp.forget(ssrc)

    def on_refused(self, ssrc: int, sequence: int) -> None:
        """The first packet of an SSRC is not authentic. The one innocent reason is a sequence
        number that has wrapped before it came (RFC 3711, 3.3.1). It is tried once more: with the
        other of both roll-over counters that are possible, as a stranger's packet may have been
        the reason to expect one of them."""
        former, self._expected = self._expected, None
        if self._srtp is None:
            return
        if former is not None:
            self._srtp.forget(former)
        if ssrc != former and sequence < 0x8000:
            self._srtp.expect(ssrc, 1)
            self._expected = ssrc

    def on_rtcp(self, part: SenderReport | Goodbye, arrival: float) -> None:
        """What the sender of one of our SSRCs says."""
        ssrcs = part.ssrcs if isinstance(part, Goodbye) else (part.ssrc,)
        for receiver in self._receivers.values():
            if receiver.ssrc not in ssrcs:
                continue
            if isinstance(part, Goodbye):
                self._stop(receiver)
            else:
                receiver.on_sender_report(part, arrival)

    def _start(self, receiver: Receiver, ssrc: int) -> None:
        self._last_track += 1
        receiver.track = self._last_track
        self._tracks[receiver.track] = receiver
        stream = self._peer.add_stream(
            ssrc,
            receiver.track,
            StreamKind.AUDIO if isinstance(receiver, AudioReceiver) else StreamKind.VIDEO,
            clock_rate=receiver.clock_rate,
            payload_types=receiver.payload_types,
            attempts=receiver.attempts,
            patience_s=receiver.patience_s,
            level_id=receiver.level_id,
        )
        self._streams[receiver.track] = stream
        self._port.owners.note_ssrc(self._peer, ssrc)
        receiver.adopt(stream)

    def _place(self) -> None:
        self._demultiplexer.set_places(
            [(section, self._receivers[mid]) for mid, section in self._sections.items()]
        )

    def _replace(self, receiver: Receiver, *, ssrc_may_go_on: bool) -> None:
        self._stop(receiver, ssrc_may_go_on=ssrc_may_go_on)
        self._former.update(receiver.counts)

    def _stop(self, receiver: Receiver, *, ssrc_may_go_on: bool = False) -> None:
        """Hand out what has come of its SSRC, and forget that.

        Args:
            ssrc_may_go_on: whether more of it may come for another receiver. Then SRTP goes on
                counting how often its sequence numbers have wrapped: it could not be opened else
                (RFC 3711, 3.3.1).
        """
        stream = self._streams.pop(receiver.track, None)
        if stream is None:
            return
        self._port.flush_stream(stream)
        receiver.release()
        del self._tracks[receiver.track]
        self._port.owners.forget_ssrc(self._peer, stream.ssrc)
        stream.close()
        if self._srtp is not None and not ssrc_may_go_on:
            self._srtp.forget(stream.ssrc)


def _goes_on(before: NegotiatedSection, section: NegotiatedSection) -> bool:
    """Whether it is the same media, paused or not; else somebody else's has taken its place."""
    return (
        before.kind == section.kind
        and before.msid == section.msid
        and before.formats == section.formats
        and before.extensions == section.extensions
    )
