"""Anchors and tracks that a test moves by hand."""

from dataclasses import dataclass, field

from cloudslice.media.tracks import (
    AudioSink,
    Description,
    Keyframe,
    KeyframeReceiver,
    OpusRun,
)


@dataclass
class ManualRequest:
    track: "ManualVideo"
    receiver: KeyframeReceiver
    due: float

    def cancel(self) -> None:
        if self in self.track.requests:
            self.track.requests.remove(self)
            self.track.cancelled += 1


@dataclass(eq=False)
class ManualVideo:
    """Grants its open requests when the test says so."""

    flowing: bool = True
    requests: list[ManualRequest] = field(default_factory=list)
    cancelled: int = 0
    kept: Keyframe | None = None
    """Of a sender that does not answer requests."""
    description: Description = field(default_factory=dict)

    def request_keyframe(
        self, receiver: KeyframeReceiver, due: float, *, max_age_s: float = 0
    ) -> ManualRequest:
        request = ManualRequest(self, receiver, due)
        if self.kept is not None and due - self.kept.arrival < max_age_s:
            receiver(self.kept)
            return request
        self.requests.append(request)
        return request

    def describe(self, keyframe: Keyframe) -> Description:
        return self.description

    def grant(self, keyframe: Keyframe) -> None:
        requests, self.requests = self.requests, []
        for request in requests:
            request.receiver(keyframe)


@dataclass(eq=False)
class ManualAudio:
    """Sends 20 ms packets to its sinks."""

    sinks: list[AudioSink] = field(default_factory=list)
    timestamp: int = 0

    def add_sink(self, sink: AudioSink) -> None:
        self.sinks.append(sink)

    def remove_sink(self, sink: AudioSink) -> None:
        self.sinks.remove(sink)

    def send(self, arrival: float) -> None:
        for sink in self.sinks:
            sink.on_opus(OpusRun.of_one(b"\xf8\x01\x02", self.timestamp, arrival))
        self.timestamp += 960


@dataclass(eq=False)
class ManualAnchor:
    user_id: str
    audio: ManualAudio | None = None
    video: ManualVideo | None = None
    aux: ManualVideo | None = None
    identity: str = ""
