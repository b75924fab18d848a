"""Verify TC3-HMAC-SHA256 signatures (docs/wire.md, 6.1)."""

import hashlib
import hmac
import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cloudslice.api.errors import ApiError, Code, Phrase
from cloudslice.api.http_exchange import HttpRequest

_ALGORITHM = "TC3-HMAC-SHA256"
_TERMINATOR = "tc3_request"
_UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
_SIGNATURE = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)

_INVALID = Phrase(
    "The `Authorization` header is not valid: {problem}.", "`Authorization` 请求头无效：{problem}。"
)
_WRONG_ALGORITHM = Phrase("it must start with `TC3-HMAC-SHA256`", "必须以 `TC3-HMAC-SHA256` 开头")
_WRONG_SCOPE = Phrase(
    "`Credential` must be `SecretId/Date/Service/tc3_request`",
    "`Credential` 必须为 `SecretId/Date/Service/tc3_request`",
)
_WRONG_DATE = Phrase(
    "The provided credentials could not be validated: the date in `Credential` is `{date}`, but "
    "`X-TC-Timestamp` is of the UTC day `{expected}`.",
    "签名验证失败：`Credential` 中的日期为 `{date}`，而 `X-TC-Timestamp` 对应的 UTC 日期为 "
    "`{expected}`。",
)
_WRONG_SIGNATURE_FORM = Phrase(
    "`Signature` must be 64 hexadecimal digits", "`Signature` 必须为 64 位十六进制字符"
)
_UNSIGNED_HEADERS = Phrase(
    "`SignedHeaders` must contain `content-type` and `host`",
    "`SignedHeaders` 必须包含 `content-type` 和 `host`",
)


@dataclass(frozen=True, slots=True)
class Tc3Authorization:
    """What an Authorization header says.

    Attributes:
        date: the UTC day in the credential's scope, as text.
        service: the name that the client signed with: the first label of whatever endpoint it was
            told, in some clients, so it says nothing of the product.
        signed_headers: in lower case and ASCII order.
        signature: 64 hexadecimal digits.
    """

    secret_id: str
    date: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str


def parse_authorization(header: str) -> Tc3Authorization:
    """Read an Authorization header; its fields may be in any order, with or without spaces.

    Raises:
        ApiError: it does not say what it must.
    """
    algorithm, _, rest = header.partition(" ")
    if algorithm != _ALGORITHM:
        raise _invalid(_WRONG_ALGORITHM)
    fields = {
        name.strip(): value.strip()
        for name, _, value in (field.partition("=") for field in rest.split(","))
    }
    for name in ("Credential", "SignedHeaders", "Signature"):
        if not fields.get(name):
            raise _invalid(Phrase(f"`{name}` is missing", f"缺少 `{name}`"))
    scope = fields["Credential"].rsplit("/", 3)
    if len(scope) != 4 or scope[3] != _TERMINATOR or not all(scope):
        raise _invalid(_WRONG_SCOPE)
    if not _SIGNATURE.fullmatch(fields["Signature"]):
        raise _invalid(_WRONG_SIGNATURE_FORM)
    names = {name.strip().lower() for name in fields["SignedHeaders"].split(";")}
    if not {"content-type", "host"} <= names:
        raise _invalid(_UNSIGNED_HEADERS)
    return Tc3Authorization(
        secret_id=scope[0],
        date=scope[1],
        service=scope[2],
        signed_headers=tuple(sorted(names)),
        signature=fields["Signature"],
    )


@dataclass(frozen=True, slots=True)
class Tc3Proof:
    """A TC3 signature with all that it covers; `timestamp` in Unix seconds."""

    authorization: Tc3Authorization
    request: HttpRequest
    timestamp: int

    @property
    def secret_id(self) -> str:
        """Whose signature it claims to be."""
        return self.authorization.secret_id

    def check_date(self) -> None:
        """Raises ApiError unless the credential's scope is of the timestamp's UTC day."""
        date = self.authorization.date
        expected = datetime.fromtimestamp(self.timestamp, UTC).strftime("%Y-%m-%d")
        if date != expected:
            raise ApiError(
                Code.AUTH_SIGNATURE_FAILURE, _WRONG_DATE, date=date[:100], expected=expected
            )

    def is_made_with(self, secret_key: str, hosts: Sequence[str]) -> bool:
        """Whether the holder of `secret_key` signed the request at its timestamp.

        Args:
            hosts: what the client may have taken for the endpoint's host when it signed.
        """
        date, service = self.authorization.date, self.authorization.service
        key = f"TC3{secret_key}".encode()
        for part in (date, service, _TERMINATOR):
            key = _hmac(key, part)
        head = f"{_ALGORITHM}\n{self.timestamp}\n{date}/{service}/{_TERMINATOR}\n"
        for canonical in _canonical_requests(
            self.authorization.signed_headers, self.request, hosts
        ):
            expected = _hmac(key, head + hashlib.sha256(canonical).hexdigest()).hex()
            if hmac.compare_digest(expected, self.authorization.signature):
                return True
        return False


def _canonical_requests(
    names: Iterable[str], request: HttpRequest, hosts: Sequence[str]
) -> Iterable[bytes]:
    """The canonical request, in each of the variants that clients are known to sign.

    Header values are to be lower-cased, but what clients sign is the verbatim text.
    """
    head = request.head
    query = head.query if head.method == "GET" else b""
    payload = _payload_hash(request)
    for host, lower in itertools.product(hosts, (False, True)):
        values = {name: head.headers.get(name, "").strip() for name in names} | {"host": host}
        lines = "".join(
            f"{name}:{value.lower() if lower else value}\n" for name, value in values.items()
        )
        yield b"\n".join(
            (
                head.method.encode(),
                b"/",
                query,
                lines.encode("latin-1"),
                ";".join(names).encode("latin-1"),
                payload.encode(),
            )
        )


def _payload_hash(request: HttpRequest) -> str:
    if request.head.headers.get("x-tc-content-sha256") == _UNSIGNED_PAYLOAD:
        payload = _UNSIGNED_PAYLOAD.encode()
    else:
        payload = b"" if request.head.method == "GET" else request.body
    return hashlib.sha256(payload).hexdigest()


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), hashlib.sha256)


def _invalid(problem: Phrase) -> ApiError:
    return ApiError(Code.AUTH_INVALID_AUTHORIZATION, _INVALID, problem=problem)
