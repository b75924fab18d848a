"""Temporary keys work until they expire, for whom they were made, and cannot be made up."""

import base64
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudslice.identity.temporary_keys import (
    TemporaryKeys,
    TokenError,
    TokenFault,
    TokenOwner,
    is_temporary,
    make_temporary_keys,
    open_token,
)

KEYS = {"AKID1": "first key", "AKID2": "second key"}
NOW = 1_700_000_000


@pytest.fixture
def made() -> TemporaryKeys:
    return make_temporary_keys("AKID1", KEYS["AKID1"], now_s=NOW, lifetime_s=3600)


def open_keys(keys: TemporaryKeys, *, now_s: float = NOW) -> TokenOwner:
    return open_token(keys.token, keys.secret_id, KEYS.get, now_s)


def fault_of(keys: TemporaryKeys, *, now_s: float = NOW) -> TokenFault:
    with pytest.raises(TokenError) as caught:
        open_keys(keys, now_s=now_s)
    return caught.value.fault


def test_a_token_leads_to_its_credential_and_its_key(made: TemporaryKeys) -> None:
    assert open_keys(made) == TokenOwner("AKID1", made.secret_key)
    assert is_temporary(made.secret_id)
    assert not is_temporary("AKID1")


def test_keys_are_never_the_same_again(made: TemporaryKeys) -> None:
    other = make_temporary_keys("AKID1", KEYS["AKID1"], now_s=NOW, lifetime_s=3600)
    assert other.secret_id != made.secret_id
    assert other.secret_key != made.secret_key


def test_secrets_are_not_shown(made: TemporaryKeys) -> None:
    assert made.secret_key not in repr(made)
    assert made.token not in repr(made)
    assert made.secret_key not in repr(open_keys(made))


def test_a_token_ends_to_the_second(made: TemporaryKeys) -> None:
    open_keys(made, now_s=NOW + 3599.9)
    assert fault_of(made, now_s=NOW + 3600) is TokenFault.EXPIRED


def test_a_missing_token_is_told_from_a_wrong_one(made: TemporaryKeys) -> None:
    assert fault_of(replace(made, token="")) is TokenFault.MISSING


def test_a_token_serves_its_own_secret_id_only(made: TemporaryKeys) -> None:
    assert fault_of(replace(made, secret_id="TMPother")) is TokenFault.OTHER_KEYS


def claim(*claims: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(claims).encode()).decode()


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("x", id="garbage"),
        pytest.param("x" * 5000, id="long-garbage"),
        pytest.param("é.é", id="not-ascii"),
        pytest.param(claim("AKID1", "TMPa", NOW + 60), id="no-digest"),
        pytest.param(claim("AKID1", "TMPa", NOW + 60) + "." + "0" * 64, id="made-up-digest"),
        pytest.param(claim("AKID3", "TMPa", NOW + 60) + ".0", id="unknown-credential"),
        pytest.param(claim("AKID1", "TMPa") + ".0", id="too-few-claims"),
        pytest.param(claim("AKID1", "TMPa", "soon") + ".0", id="claim-of-another-type"),
        pytest.param(base64.urlsafe_b64encode(b"[" * 3000).decode() + ".0", id="deep-claims"),
    ],
)
def test_a_token_that_we_did_not_make_is_refused(made: TemporaryKeys, token: str) -> None:
    assert fault_of(replace(made, token=token)) is TokenFault.INVALID


def test_another_credentials_key_makes_no_token(made: TemporaryKeys) -> None:
    forged = make_temporary_keys("AKID1", KEYS["AKID2"], now_s=NOW, lifetime_s=3600)
    assert fault_of(forged) is TokenFault.INVALID


def test_a_changed_secret_key_revokes(made: TemporaryKeys) -> None:
    with pytest.raises(TokenError, match="is not valid"):
        open_token(made.token, made.secret_id, {"AKID1": "new key"}.get, NOW)


@given(position=st.integers(0), replacement=st.characters(codec="latin-1"))
def test_no_character_of_a_token_can_be_changed(position: int, replacement: str) -> None:
    keys = make_temporary_keys("AKID1", KEYS["AKID1"], now_s=NOW, lifetime_s=3600)
    at = position % len(keys.token)
    changed = keys.token[:at] + replacement + keys.token[at + 1 :]
    if changed != keys.token:
        assert fault_of(replace(keys, token=changed)) is TokenFault.INVALID
