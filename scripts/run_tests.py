"""Runs all tests in two processes at a time: nearly all of them wait for most of their time.

What is heavy, browsers and whole programs, is in one of them, so that no two of these slow each
other down. Its output comes at the end.
"""

import subprocess
import sys
import tempfile

_HEAVY = ("tests/integration/livekit", "tests/e2e", "tests/chaos")
_PYTEST = (sys.executable, "-m", "pytest")


def main() -> int:
    """The exit status: 0 if all have passed."""
    light = ("tests", *(f"--ignore={each}" for each in _HEAVY))
    with tempfile.TemporaryFile() as output:
        heavy = subprocess.Popen((*_PYTEST, *_HEAVY), stdout=output, stderr=subprocess.STDOUT)
        try:
            failed = subprocess.run((*_PYTEST, *light), check=False).returncode
            return heavy.wait() or failed
        finally:
            heavy.kill()
            output.seek(0)
            sys.stdout.buffer.write(output.read())
            sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
