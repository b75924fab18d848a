"""May this robot enter that room: UserSig and PrivateMapKey of a new task (docs/wire.md, 11)."""

from cloudslice.api.errors import ApiError, Code, Phrase
from cloudslice.config import AppSettings
from cloudslice.identity.private_map_key import Privilege, verify_private_map_key
from cloudslice.identity.user_sig import Fault, IdentityError, verify_user_sig
from cloudslice.tasks.model import TaskSpec

_USER_SIG = Phrase("`UserSig` is not valid: {fault}.", "`UserSig` 无效：{fault}。")
_PRIVATE_MAP_KEY = Phrase(
    "`PrivateMapKey` is not valid: {fault}.", "`PrivateMapKey` 无效：{fault}。"
)
_PRIVATE_MAP_KEY_NEEDED = Phrase(
    "This app demands a `PrivateMapKey` of everybody who enters a room.",
    "此应用已开启高级权限控制，进房必须提供 `PrivateMapKey`。",
)

_CHINESE_FAULTS = {
    Fault.MALFORMED: "无法解码",
    Fault.OTHER_VERSION: "版本不是 2.0",
    Fault.OTHER_USER: "不属于该用户",
    Fault.OTHER_APP: "不属于该 SdkAppId",
    Fault.WRONG_SIGNATURE: "签名不匹配，请检查是否使用该应用的密钥生成",
    Fault.EXPIRED: "已过期",
    Fault.NOT_YET_VALID: "生成时间在 5 分钟以后",
    Fault.NO_TICKET: "不包含房间权限",
    Fault.OTHER_ROOM: "不属于该房间",
    Fault.NOT_PERMITTED: "不包含此处所需的权限",
}


def check_entry(spec: TaskSpec, app: AppSettings, *, room_exists: bool, now_s: float) -> None:
    """Check that the robot of `spec` may enter its room and hear and see there what it slices.

    A PrivateMapKey that is given is checked even where the app demands none.

    Raises:
        ApiError: it may not.
    """
    key = app.secret_key.get_secret_value()
    try:
        verify_user_sig(spec.user_sig, key, spec.room.sdk_app_id, spec.robot_user_id, now_s=now_s)
    except IdentityError as error:
        raise ApiError(Code.INVALID_USER_SIG, _USER_SIG, fault=_describe(error.fault)) from error
    if spec.private_map_key is None:
        if app.private_map_key_required:
            raise ApiError(Code.FAILED_OPERATION, _PRIVATE_MAP_KEY_NEEDED)
        return
    needed = _needed_privileges(spec, room_exists=room_exists)
    try:
        verify_private_map_key(
            spec.private_map_key, key, spec.room, spec.robot_user_id, needed, now_s=now_s
        )
    except IdentityError as error:
        raise ApiError(
            Code.FAILED_OPERATION, _PRIVATE_MAP_KEY, fault=_describe(error.fault)
        ) from error


def _needed_privileges(spec: TaskSpec, *, room_exists: bool) -> Privilege:
    needed = Privilege.ENTER_ROOM
    if spec.slicing.audio:
        needed |= Privilege.RECEIVE_AUDIO
    if spec.slicing.video:
        needed |= Privilege.RECEIVE_VIDEO
    if not room_exists:
        needed |= Privilege.CREATE_ROOM
    return needed


def _describe(fault: Fault) -> Phrase:
    return Phrase(fault.value, _CHINESE_FAULTS[fault])
