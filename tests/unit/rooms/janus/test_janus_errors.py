"""What the API's user is told of a refusal of Janus."""

from cloudslice.rooms.janus.janus_errors import JanusError, entry_error


def test_a_long_reason_is_cut() -> None:
    text = str(entry_error(JanusError(499, "x" * 100_000), "ws://janus", 150))
    assert text.startswith("Janus at ws://janus refuses the request: xxx")
    assert text.endswith("xxx (error 499)")
    assert len(text) < 300
