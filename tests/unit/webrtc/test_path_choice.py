"""Which path is sent on: the rules of `path_choice`, one by one."""

import pytest

from cloudslice.webrtc.path_choice import MEDIA_FRESH_S, SILENCE_S, PathChoice
from cloudslice.webrtc.udp.paths import make_path

FIRST, SECOND = make_path("192.0.2.1", 1), make_path("192.0.2.1", 2)


@pytest.fixture
def choice() -> PathChoice:
    """One whose path is the first."""
    chosen = PathChoice()
    chosen.checked(FIRST, 0)
    return chosen


def test_the_first_check_gives_a_path(choice: PathChoice) -> None:
    assert choice.path == FIRST


def test_a_nomination_moves_it_and_the_last_counts(choice: PathChoice) -> None:
    for path in (SECOND, FIRST, SECOND):
        choice.nominated(path, 0)
        assert choice.path == path


def test_media_moves_it_at_once(choice: PathChoice) -> None:
    choice.nominated(FIRST, 1)
    choice.heard(SECOND, 1)
    assert choice.path == SECOND


def test_a_nomination_does_not_outvote_media(choice: PathChoice) -> None:
    choice.heard(FIRST, 10)
    choice.nominated(SECOND, 10 + MEDIA_FRESH_S)
    assert choice.path == FIRST
    choice.nominated(SECOND, 10.1 + MEDIA_FRESH_S)
    assert choice.path == SECOND


def test_media_of_a_former_path_protects_no_other(choice: PathChoice) -> None:
    choice.heard(FIRST, 0)
    choice.checked(SECOND, SILENCE_S + 1)
    choice.nominated(FIRST, SILENCE_S + 1)
    assert choice.path == FIRST


def test_a_check_moves_it_when_the_path_fell_silent(choice: PathChoice) -> None:
    choice.checked(SECOND, SILENCE_S)
    assert choice.path == FIRST
    choice.checked(SECOND, SILENCE_S + 0.1)
    assert choice.path == SECOND


@pytest.mark.parametrize("sign", ["checked", "nominated", "confirmed", "heard"])
def test_every_sign_of_life_keeps_it(choice: PathChoice, sign: str) -> None:
    getattr(choice, sign)(FIRST, 5)
    choice.checked(SECOND, 5 + SILENCE_S)
    assert choice.path == FIRST


def test_signs_of_another_path_keep_nothing(choice: PathChoice) -> None:
    choice.confirmed(SECOND, 5)
    assert choice.path == FIRST
    choice.checked(SECOND, SILENCE_S + 0.1)
    assert choice.path == SECOND


def test_after_a_restart_one_nomination_outvotes_media(choice: PathChoice) -> None:
    choice.heard(FIRST, 1)
    choice.restart()
    choice.checked(SECOND, 1)
    assert choice.path == FIRST
    choice.nominated(SECOND, 1)
    assert choice.path == SECOND
    choice.nominated(FIRST, 1)
    assert choice.path == FIRST, "no media came on the second"
    choice.nominated(SECOND, 1)
    choice.heard(SECOND, 1)
    choice.nominated(FIRST, 1)
    assert choice.path == SECOND


def test_without_a_path_any_check_gives_one(choice: PathChoice) -> None:
    choice.heard(FIRST, 1)
    choice.clear()
    assert choice.path is None
    choice.nominated(SECOND, 1)
    assert choice.path == SECOND
