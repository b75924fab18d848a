"""How a robot gets into its room: tried again when something breaks, and never for ever."""

import asyncio
from collections.abc import Callable

import structlog

from cloudslice.faults import Faults
from cloudslice.ids import RoomKey
from cloudslice.rooms.base import Attendance, RoomEntryError, RoomListener, RoomProvider

_log = structlog.get_logger(__name__)

_PAUSES_S = (1.0, 3.0)
"""Before the second and the third try, which is the last."""


async def enter_room(
    rooms: RoomProvider,
    key: RoomKey,
    robot_user_id: str,
    listener: RoomListener,
    *,
    is_wanted: Callable[[], bool],
    faults: Faults,
) -> Attendance:
    """Enter a room; no answer in time and unforeseen errors are tried again.

    Args:
        is_wanted: whether to try again; the task may have been stopped meanwhile.
        faults: counts and logs the unforeseen errors.

    Raises:
        RoomEntryError: the room refuses the robot, or the last try has failed.
    """
    for pause_s in (*_PAUSES_S, None):
        try:
            async with asyncio.timeout(rooms.entry_timeout_s):
                return await rooms.enter(key, robot_user_id, listener)
        except RoomEntryError:
            raise
        except TimeoutError:
            reason = f"the room gave no answer within {rooms.entry_timeout_s:g} s"
        except Exception as error:
            faults.caught(error, room_id=key.wire_id)
            reason = f"an unforeseen error: {error!r}"
        if pause_s is None or not is_wanted():
            break
        _log.warning("robot could not enter, will try again", reason=reason, room_id=key.wire_id)
        await asyncio.sleep(pause_s)
    raise RoomEntryError(reason)
