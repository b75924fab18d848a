"""What is done about a slice that the disk refuses."""

import errno

import pytest

from cloudslice.spool.drafts import Draft
from cloudslice.spool.refusals import RETRY_S, Refusals, Verdict
from helpers.spool_site import AUDIO, START_MS

FULL = OSError(errno.ENOSPC, "No space left on device")
BROKEN = OSError(errno.EIO, "Input/output error")
GONE = FileNotFoundError(errno.ENOENT, "No such file or directory")


def make_draft(content: bytes = b"heard") -> Draft:
    """One whose file holds some content."""
    draft = Draft(AUDIO, START_MS, "name")
    draft.has_file, draft.written = True, len(draft.head) + len(content)
    return draft


def test_a_full_disk_is_waited_for_however_long() -> None:
    refusals, draft = Refusals(), make_draft()
    for now in (0.0, 59.0, 3600.0):
        assert refusals.judge(draft, FULL, now) is Verdict.WAIT
        assert draft.retry_at == now + RETRY_S


def test_a_broken_file_is_cut_after_a_minute_and_set_aside_after_another() -> None:
    refusals, draft = Refusals(), make_draft()
    verdicts = [refusals.judge(draft, BROKEN, now) for now in (0.0, 59.0, 60.0)]
    draft.is_cut = True
    verdicts += [refusals.judge(draft, BROKEN, now) for now in (61.0, 120.0, 121.0)]
    wait = Verdict.WAIT
    assert verdicts == [wait, wait, Verdict.CUT, wait, wait, Verdict.SET_ASIDE]


def test_a_file_in_which_nothing_is_kept_is_not_cut() -> None:
    refusals, draft = Refusals(), make_draft(b"")
    refusals.judge(draft, BROKEN, 0.0)
    assert refusals.judge(draft, BROKEN, 60.0) is Verdict.SET_ASIDE


def test_a_file_that_was_there_and_is_not_is_gone() -> None:
    draft = make_draft()
    assert Refusals().judge(draft, GONE, 0.0) is Verdict.GONE
    draft.has_file = False
    assert Refusals().judge(draft, GONE, 0.0) is Verdict.WAIT


def test_beginning_and_end_of_a_refusal_are_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    refusals, drafts = Refusals(), [make_draft(), make_draft()]
    for draft in drafts:
        refusals.judge(draft, FULL, 0.0)
    refusals.note_work(drafts)
    drafts[0].failing_since = drafts[1].failing_since = None
    for _ in range(2):
        refusals.note_work(drafts)
    told = capsys.readouterr().out
    assert told.count("the disk refuses slices") == told.count("the disk takes slices again") == 1
