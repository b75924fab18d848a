"""The rooms of all apps, whichever kind they are."""

from collections.abc import Mapping, Sequence

from cloudslice.config import Settings
from cloudslice.ids import RoomKey
from cloudslice.rooms.management import RoomNotFoundError, RoomService


class RoomsByApp:
    """A RoomService that passes each call on to the kind of rooms that the app has.

    Args:
        settings: the apps.
        kinds: by the name that the setting `rooms` has.
    """

    def __init__(self, settings: Settings, kinds: Mapping[str, RoomService]) -> None:
        self._services = {app.sdk_app_id: kinds[app.rooms] for app in settings.apps}

    async def exists(self, room: RoomKey) -> bool:
        """See `RoomService`."""
        return await self._service(room).exists(room)

    async def remove_users(self, room: RoomKey, user_ids: Sequence[str]) -> None:
        """See `RoomService`."""
        await self._service(room).remove_users(room, user_ids)

    async def dismiss(self, room: RoomKey) -> None:
        """See `RoomService`."""
        await self._service(room).dismiss(room)

    def _service(self, room: RoomKey) -> RoomService:
        service = self._services.get(room.sdk_app_id)
        if service is None:
            raise RoomNotFoundError
        return service
