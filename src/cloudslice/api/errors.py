"""What a failed call answers: a code (docs/api.md) and a message in the caller's language."""

from dataclasses import dataclass
from enum import Enum, StrEnum


class Language(Enum):
    """The languages of messages (X-TC-Language)."""

    ENGLISH = "en-US"
    CHINESE = "zh-CN"

    @classmethod
    def of(cls, name: str) -> "Language":
        """The language called `name`; English for any other name and for none."""
        return cls.CHINESE if name == cls.CHINESE.value else cls.ENGLISH


@dataclass(frozen=True, slots=True)
class Phrase:
    """A text in both languages, with ``{fields}`` to be filled in."""

    en: str
    zh: str

    def render(self, language: Language, **fields: "str | int | Phrase") -> str:
        """The text in `language`; phrases among the fields are rendered in it too."""
        template = self.zh if language is Language.CHINESE else self.en
        values = {
            name: value.render(language) if isinstance(value, Phrase) else value
            for name, value in fields.items()
        }
        return template.format(**values)


class Code(StrEnum):
    """Every error code that is ever answered."""

    AUTH_INVALID_AUTHORIZATION = "AuthFailure.InvalidAuthorization"
    AUTH_SECRET_ID_NOT_FOUND = "AuthFailure.SecretIdNotFound"
    AUTH_SIGNATURE_EXPIRE = "AuthFailure.SignatureExpire"
    AUTH_SIGNATURE_FAILURE = "AuthFailure.SignatureFailure"
    AUTH_TOKEN_FAILURE = "AuthFailure.TokenFailure"
    AUTH_UNAUTHORIZED_OPERATION = "AuthFailure.UnauthorizedOperation"
    FAILED_OPERATION = "FailedOperation"
    FAILED_RESTRICTED_CONCURRENCY = "FailedOperation.RestrictedConcurrency"
    FAILED_ROOM_NOT_EXIST = "FailedOperation.RoomNotExist"
    INTERNAL_ERROR = "InternalError"
    INTERNAL_CLOUD_SLICE = "InternalError.CSInternalError"
    INVALID_ACTION = "InvalidAction"
    INVALID_PARAMETER = "InvalidParameter"
    INVALID_OUT_OF_RANGE = "InvalidParameter.OutOfRange"
    INVALID_ROOM_ID = "InvalidParameter.RoomId"
    INVALID_SDK_APP_ID = "InvalidParameter.SdkAppId"
    INVALID_USER_IDS = "InvalidParameter.UserIds"
    INVALID_USER_SIG = "InvalidParameter.UserSig"
    INVALID_PARAMETER_VALUE = "InvalidParameterValue"
    INVALID_REQUEST = "InvalidRequest"
    IP_IN_BLACKLIST = "IpInBlacklist"
    IP_NOT_IN_WHITELIST = "IpNotInWhitelist"
    MISSING_PARAMETER = "MissingParameter"
    MISSING_ACCESS_KEY = "MissingParameter.AccessKey"
    MISSING_BUCKET = "MissingParameter.Bucket"
    MISSING_REGION = "MissingParameter.Region"
    MISSING_ROOM_ID = "MissingParameter.RoomId"
    MISSING_SDK_APP_ID = "MissingParameter.SdkAppId"
    MISSING_SECRET_KEY = "MissingParameter.SecretKey"
    MISSING_SLICE_PARAMS = "MissingParameter.SliceParams"
    MISSING_SLICE_STORAGE_PARAMS = "MissingParameter.SliceStorageParams"
    MISSING_SLICE_TYPE = "MissingParameter.SliceType"
    MISSING_TASK_ID = "MissingParameter.TaskId"
    MISSING_USER_ID = "MissingParameter.UserId"
    MISSING_USER_IDS = "MissingParameter.UserIds"
    MISSING_USER_SIG = "MissingParameter.UserSig"
    MISSING_VENDOR = "MissingParameter.Vendor"
    NO_SUCH_PRODUCT = "NoSuchProduct"
    NO_SUCH_VERSION = "NoSuchVersion"
    REQUEST_LIMIT_EXCEEDED = "RequestLimitExceeded"
    REQUEST_SIZE_LIMIT_EXCEEDED = "RequestSizeLimitExceeded"
    RESOURCE_NOT_FOUND = "ResourceNotFound"
    SERVICE_UNAVAILABLE = "ServiceUnavailable"
    UNAUTHORIZED_SDK_APP_ID = "UnauthorizedOperation.SdkAppId"
    UNKNOWN_PARAMETER = "UnknownParameter"
    UNSUPPORTED_PROTOCOL = "UnsupportedProtocol"
    UNSUPPORTED_REGION = "UnsupportedRegion"


class ApiError(Exception):
    """A call that is answered with an error.

    Args:
        code: what programs look at.
        phrase: what people read.
        fields: what fills the phrase's braces.
    """

    def __init__(self, code: Code, phrase: Phrase, **fields: str | int | Phrase) -> None:
        super().__init__(code, phrase.render(Language.ENGLISH, **fields))
        self.code = code
        self._phrase = phrase
        self._fields = fields

    def message(self, language: Language) -> str:
        """The text of Error.Message."""
        return self._phrase.render(language, **self._fields)


_MISSING = Phrase(
    "The request is missing a required parameter `{name}`.", "请求缺少必填参数 `{name}`。"
)

_OUT_OF_RANGE = Phrase(
    "The value of parameter `{name}` is out of range: it must be {rule}.",
    "参数 `{name}` 的值超出范围：应为{rule}。",
)


def missing_parameter(name: str, code: Code = Code.MISSING_PARAMETER) -> ApiError:
    """The error for a parameter that must be there and is not."""
    return ApiError(code, _MISSING, name=name)


def out_of_range(name: str, rule: Phrase, code: Code = Code.INVALID_OUT_OF_RANGE) -> ApiError:
    """The error for a value that is not what `rule` says it must be."""
    return ApiError(code, _OUT_OF_RANGE, name=name, rule=rule)
