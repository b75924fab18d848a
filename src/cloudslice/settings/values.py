"""What single settings may be, each with what was expected where it is not that."""

import re
import ssl
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr


def shaped(pattern: str, expected: str) -> Callable[[str], str]:
    """A check that a text has a form; a regular expression in an error would help nobody."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"expected {expected}")
        return text

    return check


def _check_listen(text: str) -> str:
    found = re.fullmatch(r"(?:\[[0-9a-fA-F:.]+\]|[^:\[\]]+):(\d{1,5})", text)
    if not found or int(found[1]) > 65535:
        raise ValueError("expected HOST:PORT, such as 0.0.0.0:8080 or [::1]:8080")
    return text


def _check_callback_key(key: SecretStr) -> SecretStr:
    shaped("[A-Za-z0-9]{0,32}", "up to 32 letters and digits")(key.get_secret_value())
    return key


def _check_edges(text: str) -> str:
    """What is pasted or read from a file easily has a blank or line end too many, and then no
    signature fits."""
    if text != text.strip():
        raise ValueError("expected no blank or line end before or behind it")
    return text


def _check_secret(secret: SecretStr) -> SecretStr:
    _check_edges(secret.get_secret_value())
    return secret


def _check_directory(path: object) -> object:
    if path == "":  # to `pathlib` it is the working directory, whose name is "."
        raise ValueError("expected a directory")
    return path


def _read_addresses(given: object) -> object:
    """One IP address or a list of them, as a tuple; an empty text is none."""
    expected = "expected an IP address, such as 203.0.113.7"
    if isinstance(given, str):
        texts, wrong = (given,) if given else (), ""
    elif isinstance(given, list | tuple):
        texts, wrong = tuple(given), ", but one is {text!r}"
    else:
        raise ValueError(f"{expected}, or a list of them")  # noqa: TRY004 - as pydantic wants it
    for text in texts:
        if not _is_ip(text):
            raise ValueError(expected + wrong.format(text=text))
    return texts


def _is_ip(text: object) -> bool:
    try:
        return isinstance(text, str) and bool(ip_address(text))
    except ValueError:
        return False


def _check_endpoint(text: str) -> str:
    if not re.fullmatch(r"(?:https?://[^\s/]\S*|file:///\S*)?", text):
        raise ValueError("expected a URL with http://, https:// or file:///")
    if re.search(r"[{}]", re.sub(r"\{(?:region|bucket)\}", "", text)):
        raise ValueError("expected no other braces than {region} and {bucket}")
    return text


def check_addressing(vendor: str, addressing: str, endpoint: str) -> None:
    """Raises ValueError where an endpoint contradicts how buckets are to be addressed."""
    host = endpoint.partition("://")[2].partition("/")[0]
    where, value = f"{vendor}.addressing", f'"{addressing}"'
    if addressing != "auto" and endpoint.startswith("file://"):
        raise ValueError(
            f"{where}: {value} is for an endpoint that is a server; "
            f"endpoints.{vendor} is a directory"
        )
    if addressing == "path" and "{bucket}" in host:
        raise ValueError(f"{where}: {value} contradicts {{bucket}} in endpoints.{vendor}")
    if addressing == "virtual" and re.fullmatch(r"[\d.]+(:\d+)?|\[.*", host):
        raise ValueError(
            f"{where}: {value} needs a host name in endpoints.{vendor}, not an address"
        )


def _check_ca_file(text: str) -> str:
    if text:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(text)
        except ssl.SSLError:
            raise ValueError("expected a file with certificates in PEM") from None
        except OSError as error:
            raise ValueError(f"expected a file that can be read ({error.strerror})") from None
    return text


def _check_header_secret(secret: SecretStr) -> SecretStr:
    _check_header(secret.get_secret_value())
    return secret


_check_header = shaped("[!-~]*", "ASCII characters without blanks, as a header has them")

VideoCodecName = Literal["H264", "VP8", "VP9", "AV1", "H265"]
Port = Annotated[int, Field(ge=1, le=65535)]
SdkAppId = Annotated[int, Field(ge=1, le=4294967295)]
Listen = Annotated[str, AfterValidator(_check_listen)]
CallbackUrl = Annotated[
    str,
    Field(max_length=2083),
    AfterValidator(shaped(r"(?:https?://[^\s/]\S*)?", "a URL with http:// or https://")),
]
BaseUrl = Annotated[
    str,
    AfterValidator(
        shaped(
            r"(?:https?://[^\s/?#@]+(?:/[^\s?#]*)?)?",
            "a URL with http:// or https://, and no user, query or fragment in it",
        )
    ),
]
CallbackKey = Annotated[SecretStr, AfterValidator(_check_callback_key)]
IceServer = Annotated[
    str,
    AfterValidator(
        shaped(r"(?:stuns?|turns?):[^\s<>]+", "a URL with stun:, stuns:, turn: or turns:")
    ),
]
ServerUrl = Annotated[
    str,
    AfterValidator(
        shaped(
            r"(?:(?:wss?|https?)://[^\s/?#@]+(?:/[^\s?#]*)?)?",
            "a URL with wss://, ws://, https:// or http://, and no user, query or fragment in it",
        )
    ),
]
Endpoint = Annotated[str, AfterValidator(_check_endpoint)]
SecretId = Annotated[str, Field(min_length=1), AfterValidator(_check_edges)]
SecretText = Annotated[SecretStr, AfterValidator(_check_secret)]
SecretKey = Annotated[SecretStr, Field(min_length=1), AfterValidator(_check_secret)]
Directory = Annotated[Path, BeforeValidator(_check_directory)]
HeaderValue = Annotated[str, AfterValidator(_check_header)]
HeaderSecret = Annotated[SecretStr, AfterValidator(_check_header_secret)]
CaFile = Annotated[str, AfterValidator(_check_ca_file)]
Addresses = Annotated[tuple[str, ...], BeforeValidator(_read_addresses)]
