"""Who makes a call: the credential whose secret key signed it (docs/wire.md, 6)."""

import re
from collections.abc import Iterable, Sequence
from typing import Protocol

from cloudslice.api.calls import Call, Common
from cloudslice.api.errors import ApiError, Code, Phrase
from cloudslice.api.signature_tc3 import Tc3Proof, parse_authorization
from cloudslice.api.signature_v1 import V1Proof
from cloudslice.config import ApiSettings, CredentialSettings
from cloudslice.identity.temporary_keys import TokenError, TokenFault, is_temporary, open_token

_MAX_CLOCK_SKEW_S = 300
_PORT = re.compile(r":[0-9]+$", re.ASCII)

_SECRET_ID_NOT_FOUND = Phrase(
    "The SecretId is not found, please ensure that your SecretId is correct.",
    "SecretId 不存在，请检查 SecretId 是否正确。",
)
_EXPIRED = Phrase(
    "The request has expired: `Timestamp` is {seconds} seconds away from the server's time; "
    "at most {limit} are allowed.",
    "请求已过期：`Timestamp` 与服务器时间相差 {seconds} 秒，最多允许 {limit} 秒。",
)
_SIGNATURE_FAILURE = Phrase(
    "The provided credentials could not be validated. Please check your signature is correct.",
    "签名验证失败，请检查签名是否正确。",
)
_NEEDS_NO_TOKEN = Phrase(
    "The token is not valid: this SecretId is not a temporary one.",
    "Token 无效：此 SecretId 不是临时密钥。",
)
_TOKEN_FAULTS = {
    TokenFault.MISSING: Phrase(
        "This SecretId is a temporary one: its token is missing.",
        "此 SecretId 为临时密钥，缺少 Token。",
    ),
    TokenFault.INVALID: Phrase("The token is not valid.", "Token 无效。"),
    TokenFault.OTHER_KEYS: Phrase(
        "The token belongs to another SecretId.", "Token 不属于此 SecretId。"
    ),
    TokenFault.EXPIRED: Phrase("The token has expired.", "Token 已过期。"),
}
_NO_SUCH_PRODUCT = Phrase(
    "The product `{service}` is not served here.", "此处不提供产品 `{service}`。"
)


class _Proof(Protocol):
    @property
    def secret_id(self) -> str: ...

    def is_made_with(self, secret_key: str, hosts: Sequence[str]) -> bool: ...


class Authenticator:
    """Knows the credentials of the settings, and tells which of them signed a call."""

    def __init__(self, credentials: Iterable[CredentialSettings], settings: ApiSettings) -> None:
        self._credentials = {credential.secret_id: credential for credential in credentials}
        self._keys = {
            secret_id: credential.secret_key.get_secret_value()
            for secret_id, credential in self._credentials.items()
        }
        self._settings = settings

    def authenticate(self, call: Call, common: Common, now_s: float) -> CredentialSettings:
        """The credential whose keys, or temporary keys, signed `call`.

        Args:
            now_s: the server's time in Unix seconds.

        Raises:
            ApiError: no known one did, or not within five minutes of `now_s`.
        """
        proof, credential, secret_key = self._identify(call, common, now_s)
        hosts = self._possible_hosts(call.request.head.headers.get("host", ""))
        if not proof.is_made_with(secret_key, hosts):
            raise ApiError(Code.AUTH_SIGNATURE_FAILURE, _SIGNATURE_FAILURE)
        if common.token and proof.secret_id == credential.secret_id:
            raise ApiError(Code.AUTH_TOKEN_FAILURE, _NEEDS_NO_TOKEN)
        return credential

    def check_sender(self, call: Call, common: Common, now_s: float) -> None:
        """As `authenticate`, as far as that goes without the body; raises ApiError."""
        self._identify(call, common, now_s)

    def _identify(
        self, call: Call, common: Common, now_s: float
    ) -> tuple["_Proof", CredentialSettings, str]:
        """Who says that they made `call`, and the key that they would have signed it with."""
        proof = self._read_proof(call, common)
        credential, secret_key = self._find(proof.secret_id, common.token, now_s)
        seconds = abs(common.timestamp - now_s)
        if seconds > _MAX_CLOCK_SKEW_S:
            raise ApiError(
                Code.AUTH_SIGNATURE_EXPIRE, _EXPIRED, seconds=int(seconds), limit=_MAX_CLOCK_SKEW_S
            )
        if isinstance(proof, Tc3Proof):
            proof.check_date()
        return proof, credential, secret_key

    def _find(self, secret_id: str, token: str, now_s: float) -> tuple[CredentialSettings, str]:
        """The credential behind a SecretId, and the key that its holder signs with."""
        if secret_id in self._credentials:
            return self._credentials[secret_id], self._keys[secret_id]
        if not is_temporary(secret_id):
            raise ApiError(Code.AUTH_SECRET_ID_NOT_FOUND, _SECRET_ID_NOT_FOUND)
        try:
            owner = open_token(token, secret_id, self._keys.get, now_s)
        except TokenError as error:
            raise ApiError(Code.AUTH_TOKEN_FAILURE, _TOKEN_FAULTS[error.fault]) from error
        return self._credentials[owner.credential_id], owner.secret_key

    def _read_proof(self, call: Call, common: Common) -> "_Proof":
        if call.form is not None:
            return V1Proof(call.request.head.method, call.form)
        authorization = parse_authorization(call.common_texts["Authorization"])
        if self._settings.services and authorization.service not in self._settings.services:
            service = authorization.service[:100]
            raise ApiError(Code.NO_SUCH_PRODUCT, _NO_SUCH_PRODUCT, service=service)
        return Tc3Proof(authorization, call.request, common.timestamp)

    def _possible_hosts(self, host: str) -> list[str]:
        """The host as sent, without its port (as Node.js signs it), and what a proxy replaced."""
        return list(dict.fromkeys((host, _PORT.sub("", host), *self._settings.host_aliases)))
