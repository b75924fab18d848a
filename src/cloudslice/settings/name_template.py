"""A text with one place in braces, such as ``room-{RoomId}``, read in both directions."""

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class NameTemplate:
    """What stands before and behind the place."""

    before: str
    behind: str

    @classmethod
    def parse(cls, text: str, place: str) -> Self:
        """The template that a setting has.

        Args:
            text: the setting.
            place: the name that stands in its braces.

        Raises:
            ValueError: the place is missing, stands there twice, or there are other braces.
        """
        before, _, behind = text.partition(f"{{{place}}}")
        if text.count(f"{{{place}}}") != 1 or set(before + behind) & set("{}"):
            raise ValueError(f"expected {{{place}}} once, and no other braces")
        return cls(before, behind)

    def fill(self, value: str) -> str:
        """The name of `value`."""
        return f"{self.before}{value}{self.behind}"

    def match(self, name: str) -> str | None:
        """What stands in a name's place; None if it is no name of this form."""
        if len(name) < len(self.before) + len(self.behind):
            return None
        if not (name.startswith(self.before) and name.endswith(self.behind)):
            return None
        return name[len(self.before) : len(name) - len(self.behind)]
