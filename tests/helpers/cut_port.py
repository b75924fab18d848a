"""A UDP port on whose way nothing comes and goes, as the test says."""

import contextlib

from cloudslice.webrtc.udp.port import UdpPort


class CutPort(UdpPort):
    """Its cable can be cut."""

    is_cut = False

    def send(self, data: bytes, path: bytes) -> None:
        if not self.is_cut:
            super().send(data, path)

    def tick(self, now: float) -> None:
        for each in self._sockets if self.is_cut else ():
            with contextlib.suppress(BlockingIOError):
                while each.recv(65536):
                    pass
        super().tick(now)
