"""When things are tried again, as tables."""

import pytest

from cloudslice.uploads.upload_pace import UploadPace


@pytest.mark.parametrize(
    ("failures", "refused", "jitter", "expected"),
    [
        pytest.param(1, False, 0, 1, id="first failure"),
        pytest.param(2, False, 0, 2, id="doubles"),
        pytest.param(6, False, 0, 32, id="doubles further"),
        pytest.param(7, False, 0, 60, id="ceiling"),
        pytest.param(10_000, False, 0, 60, id="far beyond"),
        pytest.param(3, False, 0.5, 3, id="jitter takes a quarter"),
        pytest.param(3, False, 0.999999, pytest.approx(2, abs=0.01), id="jitter takes half"),
        pytest.param(1, True, 0, 10, id="refusal: slower"),
        pytest.param(6, True, 0, 300, id="refusal: ceiling"),
    ],
)
def test_upload_delays(failures: int, refused: bool, jitter: float, expected: float) -> None:
    """1 s doubling to 60 s, less a jitter; refusals slower."""
    assert UploadPace().delay_s(failures, refused=refused, jitter=jitter) == expected
