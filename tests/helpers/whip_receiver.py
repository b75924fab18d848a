"""A WHIP server made of aiortc: an independent opinion of what a publisher sends.

It decodes what it receives, with aiortc's jitter buffers and FFmpeg's decoders.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import av
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamTrack
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from helpers.asgi_server import serving


class WhipReceiver:
    """Answers offers at `url`; `bearer`, if set, is the only token it takes."""

    def __init__(self) -> None:
        self.url = ""
        self.bearer = ""
        self.offers = 0
        self.goodbyes = 0
        self.peers: list[RTCPeerConnection] = []
        self._tracks: dict[str, MediaStreamTrack] = {}
        self._changed = asyncio.Condition()

    @property
    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/whip", self._offer, methods=["POST"]),
                Route("/whip/{anchor:path}", self._offer, methods=["POST"]),
                Route("/sessions/{index:int}", self._end, methods=["DELETE"]),
            ],
            middleware=[
                Middleware(
                    CORSMiddleware,
                    allow_origins=["*"],
                    allow_methods=["POST", "DELETE"],
                    allow_headers=["Authorization", "Content-Type"],
                    expose_headers=["Location"],
                )
            ],
        )

    async def track(self, kind: str) -> MediaStreamTrack:
        """The newest "audio" or "video" track, once there is one."""
        async with self._changed:
            await self._changed.wait_for(lambda: kind in self._tracks)
            return self._tracks[kind]

    async def goodbye(self) -> None:
        """Wait until somebody has said goodbye."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.goodbyes > 0)

    async def video_frame(
        self, wanted: Callable[[av.VideoFrame], bool] = lambda _frame: True
    ) -> av.VideoFrame:
        """The first decoded frame that is wanted."""
        track = await self.track("video")
        while not wanted(frame := await track.recv()):
            pass
        return frame

    async def ask_for_keyframe(self) -> None:
        """Send a PLI for each video."""
        for transceiver in self.peers[-1].getTransceivers():
            if transceiver.kind == "video":
                receiver = transceiver.receiver
                for ssrc in receiver._RTCRtpReceiver__active_ssrc:
                    await receiver._send_rtcp_pli(ssrc)

    async def hang_up(self) -> None:
        """End all sessions from this side, and forget them."""
        peers, self.peers = self.peers, []
        self._tracks.clear()
        await asyncio.gather(*(peer.close() for peer in peers))

    async def vanish(self) -> None:
        """Close all sockets of the sessions, without a goodbye."""
        for peer in self.peers:
            for transceiver in peer.getTransceivers():
                await transceiver.receiver.transport.transport._connection.close()

    async def _offer(self, request: Request) -> Response:
        self.offers += 1
        if self.bearer and request.headers.get("authorization") != f"Bearer {self.bearer}":
            return PlainTextResponse("the token is a wrong one", 401)
        peer = RTCPeerConnection()
        self.peers.append(peer)
        peer.on("track", self._add_track)
        offer = RTCSessionDescription((await request.body()).decode(), "offer")
        await peer.setRemoteDescription(offer)
        await peer.setLocalDescription(await peer.createAnswer())
        async with self._changed:
            self._changed.notify_all()
        location = f"/sessions/{len(self.peers) - 1}"
        sdp = peer.localDescription.sdp
        return Response(sdp, 201, {"Location": location}, "application/sdp")

    def _add_track(self, track: MediaStreamTrack) -> None:
        self._tracks[track.kind] = track

    async def _end(self, request: Request) -> Response:
        async with self._changed:
            self.goodbyes += 1
            self._changed.notify_all()
        index = request.path_params["index"]
        if index < len(self.peers):
            await self.peers[index].close()
        return Response()


@contextlib.asynccontextmanager
async def whip_receiver() -> AsyncIterator[WhipReceiver]:
    """A receiver on a free port of the loopback."""
    receiver = WhipReceiver()
    async with serving(receiver.app) as port:
        receiver.url = f"http://127.0.0.1:{port}/whip"
        try:
            yield receiver
        finally:
            await receiver.hang_up()
