"""What the nodes of a cluster share: one bucket of keys and values in NATS JetStream.

1. Every change of a key that others may change is by compare-and-set on its revision.
2. All keys are in one stream, so that all nodes hear of all changes in one order.
3. A key may have a time to live. When it is over, the server puts a marker in its place, and those
   who watch hear of it at once.

A value is never empty: a message without content is a marker of a key that is gone.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError

BUCKET = "cloudslice"
_SUBJECTS = f"$KV.{BUCKET}."
_STREAM = f"KV_{BUCKET}"
ANSWER_S = 2.0
"""An answer that takes longer does not come: a stream without a leader gives none."""
_BEGIN_S = 10.0
"""What is there begins to come within so many seconds, and goes on."""
_AGAIN_S = 0.05
"""After so long a change that no server has taken is offered again."""
MARKER_S = 60
"""So long it is known of a key that it is gone."""
_WRONG_REVISION = (10071, 10164)
"""Error codes of JetStream: the key's last revision is not the one that was expected."""


class RegistryError(Exception):
    """The registry gives no answer, or cannot be used; the text says why. Unless it cannot be used
    at all, trying again may help."""


class ConflictError(Exception):
    """The key has another revision than the one that was expected: somebody else has changed it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A key that is there."""

    key: str
    value: bytes
    revision: int
    """Of its last change; a later change of any key has a greater one."""


class Registry:
    """The bucket. All methods but `changes` answer within some seconds, or raise RegistryError.

    Attributes:
        client: the connection, for what is no key.
        jetstream: the streams behind it.
    """

    def __init__(self, client: Client, stream: JetStreamContext) -> None:
        self.client = client
        self.jetstream = stream

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection to a server."""
        return bool(self.client.is_connected)

    def check_connection(self) -> None:
        """Raises RegistryError if there is none."""
        # The client would keep what is published until there is a connection again, and send it
        # when nobody expects it any more.
        if not self.is_connected:
            raise RegistryError("there is no connection to NATS")

    async def get(self, key: str) -> Entry | None:
        """A key, if it is there."""
        return await self.find(key)

    async def find(self, pattern: str) -> Entry | None:
        """The key that was changed last of those that match; None if that one is gone.

        Args:
            pattern: a key, of which a part that is ``*`` matches any.
        """
        found = await self._last(pattern)
        return found if found is not None and found.value else None

    async def create(self, key: str, value: bytes, *, ttl_s: int | None = None) -> int:
        """Put a new key, which goes by itself after `ttl_s`; its revision.

        Raises:
            ConflictError: it is there.
        """
        try:
            return await self.update(key, value, 0, ttl_s=ttl_s)
        except ConflictError:
            gone = await self._last(key)
            if gone is None or gone.value:
                raise
            return await self.update(key, value, gone.revision, ttl_s=ttl_s)

    async def update(
        self, key: str, value: bytes, revision: int, *, ttl_s: int | None = None
    ) -> int:
        """Replace what a key has at `revision`; the new revision. Its time to live begins anew.

        Raises:
            ConflictError: it has another revision.
        """
        return await self._publish(key, value, expecting(revision), ttl_s)

    async def put(self, key: str, value: bytes, *, ttl_s: int | None = None) -> int:
        """Replace whatever a key has; for those that nobody else changes."""
        return await self._publish(key, value, {}, ttl_s)

    async def delete(self, key: str, revision: int) -> None:
        """Have a key gone that has `revision`.

        Raises:
            ConflictError: it has another revision.
        """
        headers = {"KV-Operation": "PURGE", "Nats-Rollup": "sub"}
        await self._publish(key, b"", headers | expecting(revision), MARKER_S)

    async def changes(self, *, quiet_s: float) -> AsyncGenerator[Entry | None, None]:
        """All keys that are there, then None, then all changes, in order; for ever. The value of
        a key that is gone is empty. To be closed by who reads it no more.

        Args:
            quiet_s: after so many seconds without a change the registry is asked whether there
                was none. It is over, by a RegistryError, if one was missed or no answer comes:
                what tells of changes lives on one server, and is gone with it without a word.
        """
        # Not by the client's own watcher: where messages come before the answer about their
        # consumer, that one says at once that there is nothing.
        messages: asyncio.Queue[Msg] = asyncio.Queue()
        with translated():
            state = (await self.jetstream.stream_info(_STREAM)).state
            followed = await self.jetstream.subscribe(
                f"{_SUBJECTS}>",
                stream=_STREAM,
                cb=messages.put,
                ordered_consumer=True,
                deliver_policy=api.DeliverPolicy.LAST_PER_SUBJECT,
            )
            try:
                is_begun = state.messages == 0
                last_seq = wanted_seq = state.last_seq
                if is_begun:
                    yield None
                while True:
                    try:
                        async with asyncio.timeout(quiet_s if is_begun else _BEGIN_S):
                            message = await messages.get()
                    except TimeoutError:
                        # What is under way now has come when it is quiet for the next time.
                        if not is_begun or wanted_seq > last_seq:
                            raise RegistryError("NATS has not told of all changes") from None
                        wanted_seq = (await self.jetstream.stream_info(_STREAM)).state.last_seq
                        continue
                    about, key = message.metadata, message.subject.removeprefix(_SUBJECTS)
                    last_seq = max(last_seq, about.sequence.stream)
                    yield Entry(key, message.data, about.sequence.stream)
                    is_last = about.num_pending == 0 or about.sequence.stream >= state.last_seq
                    if is_last and not is_begun:
                        is_begun = True
                        yield None
            finally:
                await followed.unsubscribe()

    async def _last(self, pattern: str) -> Entry | None:
        self.check_connection()
        with translated():
            try:
                found = await self.jetstream.get_msg(_STREAM, subject=_SUBJECTS + pattern)
            except NotFoundError:
                return None
        assert found.subject is not None  # noqa: S101 - a message has one
        assert found.seq is not None  # noqa: S101
        return Entry(found.subject.removeprefix(_SUBJECTS), found.data or b"", found.seq)

    async def publish(
        self, subject: str, data: bytes, headers: dict[str, Any], ttl_s: int | None = None
    ) -> int:
        """Add a message to the stream that has this subject; its number.

        Raises:
            ConflictError: the subject's last message is not the one that `headers` expect.
        """
        deadline = asyncio.get_running_loop().time() + ANSWER_S
        while True:
            self.check_connection()
            with translated():
                try:
                    acknowledged = await self.jetstream.publish(
                        subject, data, headers=headers, msg_ttl=ttl_s
                    )
                    return int(acknowledged.seq)
                except NoStreamResponseError:
                    # Nobody has it: the servers are about to elect who takes changes.
                    if asyncio.get_running_loop().time() > deadline:
                        raise
                except APIError as error:
                    if error.err_code in _WRONG_REVISION:
                        raise ConflictError(subject) from error
                    raise
            await asyncio.sleep(_AGAIN_S)

    async def _publish(
        self, key: str, value: bytes, headers: dict[str, Any], ttl_s: int | None
    ) -> int:
        return await self.publish(_SUBJECTS + key, value, headers, ttl_s)


def expecting(revision: int) -> dict[str, str]:
    """The header of a message that is added if the last one of its subject has this number."""
    return {"Nats-Expected-Last-Subject-Sequence": str(revision)}


@contextmanager
def translated() -> Iterator[None]:
    """The errors of the client, as those of the registry."""
    try:
        yield
    except (NatsError, TimeoutError, OSError) as error:
        raise RegistryError(f"NATS gives no answer: {error or type(error).__name__}") from error
