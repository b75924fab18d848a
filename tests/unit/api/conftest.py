"""What tests of the API share."""

import pytest

from helpers.api_fakes import GatewayBench


@pytest.fixture
def bench() -> GatewayBench:
    return GatewayBench()
