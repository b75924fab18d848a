"""The synthetic sound is what listeners are told that it is."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from cloudslice_publisher import sound
from cloudslice_publisher.sound import SAMPLE_RATE, Pcm, SpeechUnavailableError, mix, speech, tone


def loudest_hz(pcm: Pcm) -> float:
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(pcm.size)))
    return float(np.argmax(spectrum)) * SAMPLE_RATE / pcm.size


def test_tone_with_a_beep_on_each_second() -> None:
    """The frequency asked for; an octave higher in the first 100 ms of each second."""
    pcm = tone(440, 2)
    assert pcm.size == 2 * SAMPLE_RATE
    assert loudest_hz(pcm[SAMPLE_RATE // 2 : SAMPLE_RATE]) == pytest.approx(440, abs=5)
    for start in (0, SAMPLE_RATE):
        assert loudest_hz(pcm[start : start + SAMPLE_RATE // 10]) == pytest.approx(880, abs=15)


def test_the_loop_has_no_click() -> None:
    """From the last sample to the first is no larger a step than elsewhere in the tone."""
    pcm = tone(440, 1).astype(int)
    quiet = np.abs(np.diff(pcm[SAMPLE_RATE // 2 :])).max()
    assert abs(pcm[0] - pcm[-1]) <= quiet


def test_mixing_clips_instead_of_wrapping() -> None:
    loud = np.full(4, 30_000, dtype=np.int16)
    assert mix(loud, loud[:2]).tolist() == [32767, 32767, 30_000, 30_000]


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_speech_is_heard() -> None:
    """Two words take between half a second and three, and are not silent."""
    pcm = speech("Hello, world.")
    assert 0.5 < pcm.size / SAMPLE_RATE < 3
    assert np.abs(pcm).max() > 3000


def test_missing_speech_program_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sound.shutil, "which", lambda _name: None)
    with pytest.raises(SpeechUnavailableError, match="not installed"):
        speech("Hello")


def test_failed_speech_program_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "espeak-ng"
    program.write_text("#!/bin/sh\necho no voice >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(sound.shutil, "which", lambda _name: str(program))
    with pytest.raises(SpeechUnavailableError, match="no voice"):
        speech("Hello")
