import os

import pytest


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody cuts the power while these tests run: what they wrote need not reach a device."""
    monkeypatch.setattr(os, "fsync", os.fstat)
    monkeypatch.setattr("cloudslice.spool.spool_thread.sync_file_system", lambda _directory: None)
