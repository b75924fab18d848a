"""The actions that the API offers, as data: the gateway treats them all alike."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from cloudslice.api import parameters
from cloudslice.api.entry import check_entry
from cloudslice.api.errors import ApiError, Code, Language, Phrase
from cloudslice.api.event_actions import (
    EventActions,
    EventService,
    parse_describe_events,
    parse_replay_events,
)
from cloudslice.api.requests import (
    ModifyRequest,
    RoomRequest,
    TaskRequest,
    parse_create,
    parse_modify,
    parse_numeric_room,
    parse_string_room,
    parse_task,
)
from cloudslice.api.schema import Object
from cloudslice.clock import Clock
from cloudslice.config import AppSettings
from cloudslice.ids import RoomKey
from cloudslice.rooms.management import RoomNotFoundError, RoomServerError, RoomService
from cloudslice.settings.storage_settings import EndpointSettings
from cloudslice.tasks.model import (
    NoCapacityError,
    NoRegistryError,
    RobotIdTakenError,
    SpoolFullError,
    TaskError,
    TaskNotFoundError,
    TaskService,
    TaskSpec,
    TooManyTasksError,
)

_log = structlog.get_logger(__name__)

Outputs = Mapping[str, Any]
_Parse = Callable[[Mapping[str, Any]], Any]
_Perform = Callable[[Any, AppSettings], Awaitable[Outputs]]

_TASK_NOT_FOUND = Phrase(
    "There is no such task: `TaskId` is unknown, or the task has ended or can no longer be "
    "operated on.",
    "任务不存在：`TaskId` 未知，或任务已结束或已超过可操作时间。",
)
_TOO_MANY_TASKS = Phrase(
    "The app has as many unfinished tasks as it may have.", "该应用的并发任务数已达上限。"
)
_ROBOT_ID_TAKEN = Phrase(
    "The robot's `UserId` is that of an anchor in the room. Take another one.",
    "机器人的 `UserId` 与房间内主播的 `UserId` 相同，请更换。",
)
_SPOOL_FULL = Phrase(
    "Slices that wait for their upload take all the room that they may have.",
    "等待上传的切片已占满可用空间。",
)
_NO_CAPACITY = Phrase(
    "No node takes new tasks now: all are full, or none is running.",
    "当前没有可接受新任务的节点：节点均已满载，或没有节点在运行。",
)
_NO_REGISTRY = Phrase(
    "The registry of tasks gives no answer. Retry with the same parameters.",
    "任务登记服务暂无响应，请使用相同参数重试。",
)
_TASK_FAILED = Phrase("{problem}", "操作失败：{problem}")
_ROOM_NOT_FOUND = Phrase("There is no such room.", "房间不存在。")


@dataclass(frozen=True, slots=True)
class Action:
    """One action of the API.

    Attributes:
        parse: makes a request of parameters that fit `schema`; raises ApiError.
        perform: carries the request out for the app it names.
        outputs: the names of what an answer carries beside RequestId.
        forbidden: the code if the caller's credential may not use the app.
        internal_error: the code if something breaks that should not.
    """

    name: str
    schema: Object
    parse: _Parse
    perform: _Perform
    outputs: tuple[str, ...]
    forbidden: Code
    internal_error: Code

    async def carry_out(self, request: Any, app: AppSettings) -> Outputs:
        """Perform a parsed request.

        Raises:
            ApiError: it cannot be carried out.
        """
        try:
            return await self.perform(request, app)
        except (TaskError, RoomNotFoundError, RoomServerError) as error:
            raise _translate(error) from error


def action_table(
    tasks: TaskService,
    rooms: RoomService,
    events: EventService,
    clock: Clock,
    endpoints: EndpointSettings,
) -> dict[str, Action]:
    """Every action by its name, which is case-sensitive."""
    slicing = _SlicingActions(tasks, rooms, clock)
    room = _RoomActions(rooms)
    event = EventActions(events)
    create = partial(parse_create, endpoints=endpoints)
    by_number, by_name = parse_numeric_room, parse_string_room
    p = parameters
    table = (
        _slicing("CreateCloudSliceTask", p.CREATE, create, slicing.create),
        _slicing("DescribeCloudSliceTask", p.TASK, parse_task, slicing.describe, "Status"),
        _slicing("ModifyCloudSliceTask", p.MODIFY, parse_modify, slicing.modify),
        _slicing("DeleteCloudSliceTask", p.TASK, parse_task, slicing.delete),
        _room("RemoveUser", p.REMOVE_USER, by_number, room.remove_users),
        _room("RemoveUserByStrRoomId", p.REMOVE_USER_BY_STR_ROOM_ID, by_name, room.remove_users),
        _room("DismissRoom", p.DISMISS_ROOM, by_number, room.dismiss),
        _room("DismissRoomByStrRoomId", p.DISMISS_ROOM_BY_STR_ROOM_ID, by_name, room.dismiss),
        _event(
            "DescribeCloudSliceEvents",
            p.DESCRIBE_EVENTS,
            parse_describe_events,
            event.describe,
            "Events",
            "NextMarker",
        ),
        _event(
            "ReplayCloudSliceEvents", p.REPLAY_EVENTS, parse_replay_events, event.replay, "Count"
        ),
    )
    return {action.name: action for action in table}


def _slicing(name: str, schema: Object, parse: _Parse, perform: _Perform, *outputs: str) -> Action:
    return Action(
        name,
        schema,
        parse,
        perform,
        outputs=("TaskId", *outputs),
        forbidden=Code.AUTH_UNAUTHORIZED_OPERATION,
        internal_error=Code.INTERNAL_CLOUD_SLICE,
    )


def _room(name: str, schema: Object, parse: _Parse, perform: _Perform) -> Action:
    return Action(
        name,
        schema,
        parse,
        perform,
        outputs=(),
        forbidden=Code.UNAUTHORIZED_SDK_APP_ID,
        internal_error=Code.INTERNAL_ERROR,
    )


def _event(name: str, schema: Object, parse: _Parse, perform: _Perform, *outputs: str) -> Action:
    return Action(
        name,
        schema,
        parse,
        perform,
        outputs=outputs,
        forbidden=Code.AUTH_UNAUTHORIZED_OPERATION,
        internal_error=Code.INTERNAL_CLOUD_SLICE,
    )


class _SlicingActions:
    """The four actions on tasks."""

    def __init__(self, tasks: TaskService, rooms: RoomService, clock: Clock) -> None:
        self._tasks = tasks
        self._rooms = rooms
        self._clock = clock

    async def create(self, spec: TaskSpec, app: AppSettings) -> Outputs:
        now_s = self._clock.utc_ms() / 1000
        with _logged("task is refused", spec.room, user_id=spec.robot_user_id):
            # Asked only where it matters: the room may be on a server far away.
            has_key = spec.private_map_key is not None
            room_exists = has_key and await self._rooms.exists(spec.room)
            check_entry(spec, app, room_exists=room_exists, now_s=now_s)
            return {"TaskId": await self._tasks.create(spec)}

    async def describe(self, request: TaskRequest, _: AppSettings) -> Outputs:
        status = self._tasks.describe(request.sdk_app_id, request.task_id)
        return {"TaskId": request.task_id, "Status": status.value}

    async def modify(self, request: ModifyRequest, _: AppSettings) -> Outputs:
        await self._tasks.modify(
            request.sdk_app_id, request.task_id, request.lists, request.changes
        )
        return {"TaskId": request.task_id}

    async def delete(self, request: TaskRequest, _: AppSettings) -> Outputs:
        await self._tasks.delete(request.sdk_app_id, request.task_id)
        return {"TaskId": request.task_id}


class _RoomActions:
    """The four actions on rooms (docs/wire.md, 12)."""

    def __init__(self, rooms: RoomService) -> None:
        self._rooms = rooms

    async def remove_users(self, request: RoomRequest, _: AppSettings) -> Outputs:
        with _logged("users are not removed", request.room):
            await self._rooms.remove_users(request.room, request.user_ids)
        return {}

    async def dismiss(self, request: RoomRequest, _: AppSettings) -> Outputs:
        with _logged("room is not dismissed", request.room):
            await self._rooms.dismiss(request.room)
        return {}


@contextmanager
def _logged(event: str, room: RoomKey, **fields: str) -> Iterator[None]:
    """Log why a call fails: its caller may not be who can mend it."""
    try:
        yield
    except (ApiError, TaskError, RoomServerError) as error:
        reason = error.message(Language.ENGLISH) if isinstance(error, ApiError) else str(error)
        _log.warning(
            event, reason=reason, sdk_app_id=room.sdk_app_id, room_id=room.wire_id, **fields
        )
        raise


def _translate(error: TaskError | RoomNotFoundError | RoomServerError) -> ApiError:
    match error:
        case RoomNotFoundError():
            return ApiError(Code.FAILED_ROOM_NOT_EXIST, _ROOM_NOT_FOUND)
        case TaskNotFoundError():
            return ApiError(Code.RESOURCE_NOT_FOUND, _TASK_NOT_FOUND)
        case TooManyTasksError():
            return ApiError(Code.FAILED_RESTRICTED_CONCURRENCY, _TOO_MANY_TASKS)
        case NoCapacityError():
            return ApiError(Code.FAILED_RESTRICTED_CONCURRENCY, _NO_CAPACITY)
        case NoRegistryError():
            return ApiError(Code.INTERNAL_CLOUD_SLICE, _NO_REGISTRY)
        case RobotIdTakenError():
            return ApiError(Code.FAILED_OPERATION, _ROBOT_ID_TAKEN)
        case SpoolFullError():
            return ApiError(Code.FAILED_OPERATION, _SPOOL_FULL)
        case _:
            return ApiError(Code.FAILED_OPERATION, _TASK_FAILED, problem=str(error))
