"""Exceptions that nobody foresaw."""

from typing import Any

import pytest


class BugError(Exception):
    """Something that nobody foresaw."""


class Failing:
    """A function that raises the first time, and then does what it did."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        self.has_failed = False
        original = getattr(owner, name)

        def call(*args: Any, **options: Any) -> Any:
            if not self.has_failed:
                self.has_failed = True
                raise BugError(name)
            return original(*args, **options)

        monkeypatch.setattr(owner, name, call)
