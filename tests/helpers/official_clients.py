"""The official clients, each in every way of signing and sending that it has."""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import pytest

from helpers.client_programs import ClientProgram, Result
from helpers.signing import KeyPair


@dataclass(frozen=True)
class Setup:
    """How a client is set up, beside endpoint and keys; each program uses what its client has."""

    sign_method: str = "TC3-HMAC-SHA256"
    http_method: str = "POST"
    region: str | None = "ap-singapore"
    language: str = "en-US"
    token: str | None = None
    unsigned_payload: bool = False
    rate_limit_retries: int = 0


TC3 = Setup()
TC3_GET = Setup(http_method="GET")
UNSIGNED = Setup(unsigned_payload=True)
SHA1 = Setup(sign_method="HmacSHA1")
SHA256 = Setup(sign_method="HmacSHA256")
SHA256_GET = Setup(sign_method="HmacSHA256", http_method="GET")

_WAYS = {
    "python": {
        "tc3": TC3,
        "tc3-get": TC3_GET,
        "unsigned": UNSIGNED,
        "sha1": SHA1,
        "sha256": SHA256,
        "sha256-get": SHA256_GET,
    },
    "python-intl": {"tc3": TC3, "tc3-get": TC3_GET, "sha1": SHA1, "sha256": SHA256},
    "tccli": {"tc3": TC3},
    "nodejs": {
        "tc3": TC3,
        "tc3-get": TC3_GET,
        "sha1": SHA1,
        "sha256": SHA256,
        "sha256-get": SHA256_GET,
    },
    "nodejs-intl": {
        "tc3": TC3,
        "tc3-get": TC3_GET,
        "sha1": SHA1,
        "sha256": SHA256,
        "sha256-get": SHA256_GET,
    },
    "java": {
        "tc3": TC3,
        "tc3-get": TC3_GET,
        "unsigned": UNSIGNED,
        "sha1": SHA1,
        "sha256": SHA256,
        "sha256-get": SHA256_GET,
    },
    "go": {"tc3": TC3, "unsigned": UNSIGNED},
    "go-typed": {
        "tc3": TC3,
        "tc3-get": TC3_GET,
        "unsigned": UNSIGNED,
        "sha1": SHA1,
        "sha256": SHA256,
        "sha256-get": SHA256_GET,
    },
}

EVERY_WAY = [
    pytest.param(program, setup, id=f"{program}-{way}")
    for program, ways in _WAYS.items()
    for way, setup in ways.items()
]
"""(name of the program, Setup) for parametrised tests."""


class OfficialClient:
    """A client set up in one of its ways. Tests that use one that is not installed are skipped."""

    def __init__(self, programs: Mapping[str, ClientProgram], name: str, setup: Setup = TC3):
        self._program = programs[name]
        self._setup = setup
        if self._program.missing is not None:
            pytest.skip(f"{name} needs {self._program.missing}: see scripts/install-test-tools")

    async def call(
        self,
        endpoint: str,
        keys: KeyPair,
        action: str,
        parameters: Mapping[str, Any],
        **changes: Any,
    ) -> Result:
        """Call an action at `endpoint` (host and port, plain HTTP); `changes` are of the Setup."""
        settings = asdict(replace(self._setup, **changes))
        settings |= {
            "endpoint": endpoint,
            "secret_id": keys.secret_id,
            "secret_key": keys.secret_key,
        }
        order = {"settings": settings, "action": action, "parameters": parameters}
        return await asyncio.to_thread(self._program.call, order)
