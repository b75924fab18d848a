"""The rules for every test, tried on small test suites of their own."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

_CONFTEST = Path(__file__).parents[1] / "conftest.py"


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    pytester.makeini(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
    )
    pytester.makeconftest(_CONFTEST.read_text())
    monkeypatch.setenv("CI", "true")
    return pytester


SKIPPING = {
    "test": "import pytest\n@pytest.mark.skip(reason='no janus')\ndef test_it(): pass",
    "body": "import pytest\ndef test_it(): pytest.skip('no janus')",
    "module": "import pytest\npytest.skip('no janus', allow_module_level=True)",
}


@pytest.mark.parametrize("source", SKIPPING.values(), ids=SKIPPING.keys())
def test_a_skip_in_ci_is_a_failure(suite: pytest.Pytester, source: str) -> None:
    """Whatever is skipped, the run fails and says what was missing."""
    suite.makepyfile(source)
    result = suite.runpytest_inprocess()
    assert result.ret != 0
    result.stdout.fnmatch_lines("*skipped, which is a failure in CI: *no janus*")


@pytest.mark.parametrize("source", SKIPPING.values(), ids=SKIPPING.keys())
def test_a_skip_at_home_is_a_skip(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    """Without CI=true a missing program does not fail the run."""
    monkeypatch.delenv("CI")
    suite.makepyfile(source)
    suite.runpytest_inprocess().assert_outcomes(skipped=1)


def test_an_expected_failure_is_no_skip(suite: pytest.Pytester) -> None:
    suite.makepyfile("import pytest\n@pytest.mark.xfail\ndef test_it(): assert False")
    suite.runpytest_inprocess().assert_outcomes(xfailed=1)


def test_a_task_left_running_is_an_error(suite: pytest.Pytester) -> None:
    """The test's own assertions hold; the task that it forgot is named."""
    suite.makepyfile(
        """
        import asyncio

        async def forgotten():
            await asyncio.sleep(60)

        async def test_leaves_one():
            asyncio.get_running_loop().kept = asyncio.create_task(forgotten())

        async def test_leaves_none():
            await asyncio.create_task(asyncio.sleep(0))
        """
    )
    result = suite.runpytest_inprocess()
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines("*tasks left running:*forgotten*")
