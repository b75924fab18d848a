"""HmacSHA1 and HmacSHA256 in fields: the recomputed vectors, and what clients do differently."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudslice.api.signature_v1 import V1Proof
from helpers.signing import KeyPair, flatten, v1_fields

KEY = "ExampleSecretKeyExampleSecretKey0001"
HOST = "trtc.intl.tencentcloudapi.com"
FIELDS = {
    "Action": "DescribeCloudSliceTask",
    "Language": "en-US",
    "Nonce": "11886",
    "Region": "ap-singapore",
    "RequestClient": "SDK_PYTHON_3.1.177",
    "SdkAppId": "1400000000",
    "SecretId": "AKIDEXAMPLEEXAMPLEEXAMPLEEXAMPLE0001",
    "TaskId": "-m9-EXAMPLE+TaskId..",
    "Timestamp": "1700000000",
    "Version": "2019-07-22",
}
SHA256 = FIELDS | {
    "SignatureMethod": "HmacSHA256",
    "Signature": "P5jS49a102gLWb2Hhn4021TnUOEnonkWfvXBCvOdiio=",
}
SHA1 = FIELDS | {"SignatureMethod": "HmacSHA1", "Signature": "vMhf8puGtGojIyWZoeBXehJIYk4="}


@pytest.mark.parametrize(
    ("method", "fields"),
    [pytest.param("POST", SHA256, id="post-sha256"), pytest.param("GET", SHA1, id="get-sha1")],
)
def test_a_vector_is_accepted_and_nothing_near_it(method: str, fields: dict[str, str]) -> None:
    """Any change of key, method, host, or of one field makes another signature."""
    assert V1Proof(method, fields).is_made_with(KEY, [HOST])
    assert V1Proof(method, fields).is_made_with(KEY, ["localhost", HOST])
    assert not V1Proof(method, fields).is_made_with(KEY + "x", [HOST])
    assert not V1Proof("PUT", fields).is_made_with(KEY, [HOST])
    assert not V1Proof(method, fields).is_made_with(KEY, ["localhost"])
    for name in fields:
        changed = {**fields, name: fields[name] + "x"}
        assert not V1Proof(method, changed).is_made_with(KEY, [HOST]), name
    assert not V1Proof(method, fields | {"Added": ""}).is_made_with(KEY, [HOST])


def test_a_plus_that_arrived_as_a_space_is_a_plus() -> None:
    signature = SHA256["Signature"].replace("+", " ")
    assert V1Proof("POST", SHA256 | {"Signature": signature}).is_made_with(KEY, [HOST])


@pytest.mark.parametrize("method", [None, "HmacSHA1", "hmacsha256", "MD5"])
def test_any_other_signature_method_is_sha1(method: str | None) -> None:
    fields = v1_fields(
        KeyPair("id", KEY), "A", {}, timestamp=1, host=HOST, algorithm="", SignatureMethod=method
    )
    assert V1Proof("GET", fields).is_made_with(KEY, [HOST])


@given(
    st.dictionaries(
        st.sampled_from(["UserIds", "Region", "Übung", "a"]), st.lists(st.text(), max_size=12)
    )
)
def test_lists_of_any_length_are_in_ascii_order(parameters: dict[str, list[str]]) -> None:
    """UserIds.10 comes before UserIds.2, whatever the values; nothing is encoded."""
    keys = KeyPair("id", KEY)
    fields = v1_fields(keys, "RemoveUser", flatten(parameters), timestamp=1, host=HOST)
    assert V1Proof("GET", fields).is_made_with(KEY, [HOST])
    assert V1Proof("GET", dict(reversed(fields.items()))).is_made_with(KEY, [HOST])


def test_a_signature_that_is_not_ascii_is_refused() -> None:
    assert not V1Proof("POST", SHA256 | {"Signature": "ä"}).is_made_with(KEY, [HOST])
