"""A module is known by the name of its file."""

from collections import Counter
from pathlib import Path

import cloudslice


def test_no_file_name_occurs_twice() -> None:
    root = Path(cloudslice.__file__).parent
    names = Counter(path.name for path in root.rglob("*.py") if path.name != "__init__.py")
    assert [name for name, times in names.items() if times > 1] == []
