"""The receiver of a section, and what reports tell its sender."""

import pytest

from cloudslice.webrtc.audio_receiver import AudioReceiver
from cloudslice.webrtc.receiver import ReceiverHooks
from cloudslice.webrtc.receivers import make_receiver
from cloudslice.webrtc.video_receiver import VideoReceiver
from helpers.offers import REAL, accept

HOOKS = ReceiverHooks(lambda make, block: None, lambda at: None, lambda: 0.0)


@pytest.mark.parametrize("client", ["chromium", "firefox"])
def test_each_section_of_real_clients_gets_its_receiver(client: str) -> None:
    for section in accept(REAL[client]).sections:
        if section.formats:
            receiver = make_receiver(section, HOOKS)
            kind = AudioReceiver if section.kind == "audio" else VideoReceiver
            assert isinstance(receiver, kind)
