"""Publishes live media by GStreamer's webrtcbin: see tests/helpers/publisher_programs.py.

It runs with the system's Python, for which Debian has GStreamer's bindings.
"""

import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstVideo", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstVideo, GstWebRTC  # noqa: E402

_ENCODERS = {
    "H264": "openh264enc name=encoder bitrate=800000 gop-size=300 ! "
    "video/x-h264,profile=constrained-baseline ! h264parse ! "
    "rtph264pay aggregate-mode=zero-latency config-interval=-1",
    "VP8": "vp8enc name=encoder deadline=1 target-bitrate=800000 keyframe-max-dist=300 ! rtpvp8pay",
}
_PIPELINE = """
webrtcbin name=webrtc bundle-policy=max-bundle
audiotestsrc is-live=true freq=440 ! audio/x-raw,rate=48000,channels=2 ! opusenc !
    rtpopuspay name=audio pt=111 ! application/x-rtp,media=audio,encoding-name=OPUS,payload=111 !
    webrtc.
videotestsrc is-live=true pattern=smpte75 !
    video/x-raw,format=I420,width=640,height=360,framerate=30/1 !
    {encoder} name=video pt=96 ! application/x-rtp,media=video,encoding-name={codec},payload=96 !
    webrtc.
"""
_CONNECT_S = 20


class Publication:
    """A pipeline on its way through negotiation, life and goodbye, in GLib's main loop."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._order = order
        self._loop = GLib.MainLoop()
        codec = order["codec"]
        self._pipeline = Gst.parse_launch(_PIPELINE.format(encoder=_ENCODERS[codec], codec=codec))
        self._webrtc = self._pipeline.get_by_name("webrtc")
        self._counts = {"audio": 0, "video": 0}
        self._stopped_ms = 0
        self._requests = 0
        self._resource = ""
        self._problem = ""
        for kind in self._counts:
            pad = self._pipeline.get_by_name(kind).get_static_pad("sink")
            pad.add_probe(Gst.PadProbeType.BUFFER, self._count, kind)
        encoder = self._pipeline.get_by_name("encoder").get_static_pad("src")
        encoder.add_probe(Gst.PadProbeType.EVENT_UPSTREAM, self._see_event)
        for transceiver in self._transceivers():
            transceiver.set_property("direction", GstWebRTC.WebRTCRTPTransceiverDirection.SENDONLY)
            transceiver.set_property("do-nack", True)
        self._webrtc.connect("on-negotiation-needed", self._make_offer)
        self._webrtc.connect("notify::ice-gathering-state", self._on_gathering)
        self._webrtc.connect("notify::connection-state", self._on_state)
        bus = self._pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::error", lambda _, message: self._fail(str(message.parse_error())))

    def run(self) -> dict[str, Any]:
        GLib.timeout_add_seconds(_CONNECT_S, self._give_up)
        self._pipeline.set_state(Gst.State.PLAYING)
        self._loop.run()
        if self._problem:
            raise SystemExit(self._problem)
        status, _, _ = self._request("DELETE", self._resource)
        self._pipeline.set_state(Gst.State.NULL)
        return {
            "audio_packets": self._counts["audio"],
            "video_frames": self._counts["video"],
            "keyframe_requests": self._requests,
            "stopped_ms": self._stopped_ms,
            "delete_status": status,
        }

    def _transceivers(self) -> list[Any]:
        return [self._webrtc.emit("get-transceiver", index) for index in range(2)]

    def _count(self, _pad: Any, _info: Any, kind: str) -> Any:
        self._counts[kind] += 1
        return Gst.PadProbeReturn.OK

    def _see_event(self, _pad: Any, info: Any) -> Any:
        if GstVideo.video_event_is_force_key_unit(info.get_event()):
            self._requests += 1
        return Gst.PadProbeReturn.OK

    def _make_offer(self, _webrtc: Any) -> None:
        promise = Gst.Promise.new_with_change_func(self._on_offer)
        self._webrtc.emit("create-offer", None, promise)

    def _on_offer(self, promise: Any) -> None:
        reply = promise.get_reply()  # has to outlive what is taken out of it
        self._webrtc.emit("set-local-description", reply.get_value("offer"), None)

    def _on_gathering(self, _webrtc: Any, _property: Any) -> None:
        state = self._webrtc.get_property("ice-gathering-state")
        if state == GstWebRTC.WebRTCICEGatheringState.COMPLETE:
            GLib.idle_add(self._publish)

    def _publish(self) -> bool:
        offer = self._webrtc.get_property("local-description").sdp.as_text()
        status, headers, text = self._request("POST", self._order["url"], offer)
        if status != 201:
            return self._fail(f"HTTP {status}: {text}")
        self._resource = urllib.parse.urljoin(self._order["url"], headers["Location"])
        _, message = GstSdp.SDPMessage.new_from_text(text)
        answer = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, message)
        self._webrtc.emit("set-remote-description", answer, None)
        return False

    def _on_state(self, _webrtc: Any, _property: Any) -> None:
        state = self._webrtc.get_property("connection-state")
        if state == GstWebRTC.WebRTCPeerConnectionState.CONNECTED:
            GLib.timeout_add(int(self._order["seconds"] * 1000), self._stop)
        elif state == GstWebRTC.WebRTCPeerConnectionState.FAILED:
            self._fail("the connection has failed")

    def _stop(self) -> bool:
        self._stopped_ms = int(time.time() * 1000)
        self._loop.quit()
        return False

    def _give_up(self) -> bool:
        state = self._webrtc.get_property("connection-state")
        if state != GstWebRTC.WebRTCPeerConnectionState.CONNECTED:
            self._fail(f"not connected within {_CONNECT_S} s")
        return False

    def _fail(self, problem: str) -> bool:
        self._problem = problem
        self._loop.quit()
        return False

    def _request(self, method: str, url: str, body: str = "") -> tuple[int, Any, str]:
        headers = {"Authorization": f"Bearer {self._order['bearer']}"}
        if body:
            headers["Content-Type"] = "application/sdp"
        request = urllib.request.Request(url, body.encode() or None, headers, method=method)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read().decode()
        except OSError as error:
            return 0, {}, str(error)


Gst.init(None)
print(json.dumps(Publication(json.load(sys.stdin)).run()))
