"""docs/api.md says what the code does, all of it and nothing more."""

import importlib.util
import re
from pathlib import Path

import pytest

from cloudslice.api.errors import Code
from cloudslice.events import ExitReason
from cloudslice.rooms.base import LeaveCode
from cloudslice.webhooks.bodies import EventType, RoomEventType

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")

# Its page of common codes, and the lists of the actions' pages.
DOCUMENTED_BY_THE_VENDOR = [
    "ActionOffline",
    "AuthFailure",
    "AuthFailure.InvalidAuthorization",
    "AuthFailure.InvalidSecretId",
    "AuthFailure.MFAFailure",
    "AuthFailure.SecretIdNotFound",
    "AuthFailure.SignatureExpire",
    "AuthFailure.SignatureFailure",
    "AuthFailure.TokenFailure",
    "AuthFailure.UnRealNameAuthenticated",
    "AuthFailure.UnauthorizedOperation",
    "AuthFailure.UnsupportedOperation",
    "DryRunOperation",
    "FailedOperation",
    "FailedOperation.CSUnsupportMethod",
    "FailedOperation.RestrictedConcurrency",
    "FailedOperation.RoomNotExist",
    "FailedOperation.UserNotExist",
    "InternalError",
    "InternalError.CSInternalError",
    "InternalError.GetRoomCacheIpError",
    "InternalError.GetRoomFromCacheError",
    "InvalidAction",
    "InvalidParameter",
    "InvalidParameter.OutOfRange",
    "InvalidParameter.RoomId",
    "InvalidParameter.SdkAppId",
    "InvalidParameter.UserIds",
    "InvalidParameter.UserSig",
    "InvalidParameterValue",
    "InvalidParameterValue.RoomId",
    "InvalidRequest",
    "IpInBlacklist",
    "IpNotInWhitelist",
    "LimitExceeded",
    "MissingParameter",
    "MissingParameter.AccessKey",
    "MissingParameter.Bucket",
    "MissingParameter.Region",
    "MissingParameter.RoomId",
    "MissingParameter.SdkAppId",
    "MissingParameter.SecretKey",
    "MissingParameter.SliceParams",
    "MissingParameter.SliceStorageParams",
    "MissingParameter.SliceType",
    "MissingParameter.TaskId",
    "MissingParameter.UserId",
    "MissingParameter.UserIds",
    "MissingParameter.UserSig",
    "MissingParameter.Vendor",
    "NoSuchProduct",
    "NoSuchVersion",
    "RequestLimitExceeded",
    "RequestLimitExceeded.GlobalRegionUinLimitExceeded",
    "RequestLimitExceeded.IPLimitExceeded",
    "RequestLimitExceeded.UinLimitExceeded",
    "RequestSizeLimitExceeded",
    "ResourceInUse",
    "ResourceInsufficient",
    "ResourceNotFound",
    "ResourceUnavailable",
    "ResponseSizeLimitExceeded",
    "ServiceUnavailable",
    "UnauthorizedOperation",
    "UnauthorizedOperation.SdkAppId",
    "UnknownParameter",
    "UnsupportedOperation",
    "UnsupportedProtocol",
    "UnsupportedRegion",
]


def first_column(heading: str) -> list[str]:
    """The first cells of the first table that follows `heading`."""
    table = re.search(r"(?:^\|.*\n)+", PAGE.split(heading, 1)[1], re.MULTILINE)
    assert table is not None
    rows = table[0].splitlines()[2:]
    return [row.split("|")[1].strip().strip("`") for row in rows]


def test_the_tables_of_parameters_are_those_of_the_code() -> None:
    """`scripts/api_docs.py` writes them anew."""
    spec = importlib.util.spec_from_file_location("api_docs", ROOT / "scripts" / "api_docs.py")
    assert spec is not None
    assert spec.loader is not None
    api_docs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(api_docs)
    assert api_docs.render(PAGE) == PAGE
    assert set(re.findall(r"^### (\w+)$", PAGE, re.MULTILINE)) == set(api_docs.all_actions())


def test_every_code_of_the_code_is_in_the_table() -> None:
    assert first_column("Answered:") == sorted(code.value for code in Code)


def test_every_code_of_the_vendor_is_answered_or_said_never_to_be() -> None:
    never = first_column("never answered here:")
    assert set(never).isdisjoint(Code)
    assert {*never, *Code} == set(DOCUMENTED_BY_THE_VENDOR)


@pytest.mark.parametrize("code", Code, ids=lambda code: code.value)
def test_every_code_is_expected_by_a_test(code: Code) -> None:
    tests = [path.read_text() for path in (ROOT / "tests" / "unit" / "api").glob("test_*.py")]
    assert any(f'"{code.value}"' in text for text in tests)


def test_every_slicing_event_and_leave_code_is_in_the_tables() -> None:
    assert first_column("Slicing events") == [str(event.value) for event in EventType]
    assert first_column("for each reason |") == [str(code.value) for code in LeaveCode]


def test_every_room_event_and_exit_reason_is_in_the_tables() -> None:
    assert first_column("they have no `TaskId`:") == [str(event.value) for event in RoomEventType]
    assert first_column("Why an anchor left (104):") == [str(code.value) for code in ExitReason]
    names = {f"EVENT_TYPE_{event.name}" for event in RoomEventType}
    assert names <= set(re.findall(r"EVENT_TYPE_\w+", PAGE))
