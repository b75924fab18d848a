"""How rooms and members are called on a LiveKit server, in both directions.

1. A room's name is the app's template with its RoomId. The rooms 1 and "1" of ours are one there.
2. A member's identity is the app's template with its UserId. An identity of another form, or whose
   UserId could be mistaken for a made one, has a UserId made of all of it (`user_ids`).
3. So two identities never have one UserId, and what `to_identity` says of a UserId that was not
   made has that UserId again.
"""

from cloudslice.ids import RoomIdType, RoomKey, read_room_key
from cloudslice.rooms.remote.user_ids import is_kept, make_user_id
from cloudslice.settings.name_template import NameTemplate
from cloudslice.settings.room_settings import LivekitSettings


class LivekitNames:
    """The names of one app."""

    def __init__(self, settings: LivekitSettings) -> None:
        self._room = NameTemplate.parse(settings.room_name, "RoomId")
        self._member = NameTemplate.parse(settings.identity, "UserId")

    def to_room_name(self, room: RoomKey) -> str:
        """What LiveKit calls a room of ours."""
        return self._room.fill(room.room_id)

    def to_room(
        self, sdk_app_id: int, name: str, room_id_type: RoomIdType = RoomIdType.STRING
    ) -> RoomKey | None:
        """The room of ours that LiveKit calls `name`; None if none of that type can be."""
        room_id = self._room.match(name)
        room = None if room_id is None else read_room_key(sdk_app_id, room_id, room_id_type)
        # A number with leading zeros is another room there, and none of ours.
        return room if room is not None and room.room_id == room_id else None

    def is_odd(self, name: str) -> bool:
        """Whether `name` has the form of the app's rooms, and yet none of ours can be called so."""
        room_id = self._room.match(name)
        return room_id is not None and read_room_key(0, room_id, RoomIdType.STRING) is None

    def to_user_id(self, identity: str) -> str:
        """The UserId of the member that LiveKit calls `identity`."""
        user_id = self._member.match(identity)
        return user_id if user_id is not None and is_kept(user_id) else make_user_id(identity)

    def to_identity(self, user_id: str) -> str:
        """What LiveKit is to call a member of ours: a robot."""
        return self._member.fill(user_id)
