"""Calls signed with temporary keys."""

from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlencode

import pytest

from cloudslice.identity.temporary_keys import TemporaryKeys, make_temporary_keys
from helpers.api_fakes import APP, FORBIDDEN_APP, HOST, KEYS, NOW, TASK_ID, Answer, GatewayBench
from helpers.signing import KeyPair, flatten, tc3_headers, v1_fields

ACTION = "DescribeCloudSliceTask"
TASK = {"SdkAppId": APP, "TaskId": TASK_ID}


@pytest.fixture
def keys() -> TemporaryKeys:
    return make_temporary_keys(KEYS.secret_id, KEYS.secret_key, now_s=NOW, lifetime_s=3600)


async def call(
    bench: GatewayBench,
    keys: TemporaryKeys,
    parameters: Mapping[str, object] = TASK,
    *,
    by_v1: bool = False,
) -> Answer:
    pair = KeyPair(keys.secret_id, keys.secret_key)
    now = int(bench.clock.now_s)
    if by_v1:
        token = keys.token or None
        fields = v1_fields(pair, ACTION, flatten(parameters), timestamp=now, host=HOST, Token=token)
        return await bench.send_v1("GET", fields)
    query = urlencode(flatten(parameters))
    headers = tc3_headers(pair, ACTION, timestamp=now, host=HOST, query=query, method="GET")
    return await bench.send("GET", {**headers, "X-TC-Token": keys.token}, query=query)


@pytest.mark.parametrize("by_v1", [pytest.param(False, id="tc3"), pytest.param(True, id="v1")])
class TestTemporaryKeys:
    async def test_they_do_what_their_credential_may(
        self, bench: GatewayBench, keys: TemporaryKeys, by_v1: bool
    ) -> None:
        assert (await call(bench, keys, by_v1=by_v1)).code is None
        forbidden = TASK | {"SdkAppId": FORBIDDEN_APP}
        answer = await call(bench, keys, forbidden, by_v1=by_v1)
        assert answer.code == "AuthFailure.UnauthorizedOperation"

    async def test_they_need_their_token(
        self, bench: GatewayBench, keys: TemporaryKeys, by_v1: bool
    ) -> None:
        answer = await call(bench, replace(keys, token=""), by_v1=by_v1)
        assert answer.code == "AuthFailure.TokenFailure"
        assert "missing" in answer.message

    async def test_they_expire(self, bench: GatewayBench, keys: TemporaryKeys, by_v1: bool) -> None:
        bench.clock.now_s += 3600
        answer = await call(bench, keys, by_v1=by_v1)
        assert answer.code == "AuthFailure.TokenFailure"
        assert "expired" in answer.message

    async def test_a_wrong_token_is_refused(
        self, bench: GatewayBench, keys: TemporaryKeys, by_v1: bool
    ) -> None:
        others = make_temporary_keys(KEYS.secret_id, KEYS.secret_key, now_s=NOW, lifetime_s=60)
        for token in (others.token, "wrong", keys.token[:-1]):
            answer = await call(bench, replace(keys, token=token), by_v1=by_v1)
            assert answer.code == "AuthFailure.TokenFailure"

    async def test_the_right_token_needs_the_right_key(
        self, bench: GatewayBench, keys: TemporaryKeys, by_v1: bool
    ) -> None:
        answer = await call(bench, replace(keys, secret_key=KEYS.secret_key), by_v1=by_v1)
        assert answer.code == "AuthFailure.SignatureFailure"

    async def test_keys_that_are_not_temporary_have_no_token(
        self, bench: GatewayBench, keys: TemporaryKeys, by_v1: bool
    ) -> None:
        permanent = replace(keys, secret_id=KEYS.secret_id, secret_key=KEYS.secret_key)
        answer = await call(bench, permanent, by_v1=by_v1)
        assert answer.code == "AuthFailure.TokenFailure"


async def test_they_share_their_credentials_rate_limit(
    bench: GatewayBench, keys: TemporaryKeys
) -> None:
    codes = [(await call(bench, keys)).code for _ in range(20)]
    assert codes == [None] * 20
    assert (await bench.call(ACTION, TASK)).code == "RequestLimitExceeded"
