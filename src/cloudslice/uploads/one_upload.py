"""One upload of one slice: from its file into the bucket, or why not."""

import asyncio
from urllib.parse import quote

from cloudslice.secrets import SecretKeyError
from cloudslice.slices import DamagedSliceError, Slice
from cloudslice.uploads.objects import Content, ObjectStore, StoredObject
from cloudslice.uploads.shared import Shared
from cloudslice.uploads.storage_errors import ANOTHER_NODES, StorageError

_CONTENT_TYPES = {"ogg": "audio/ogg", "png": "image/png", "jpg": "image/jpeg"}
_GONE_CODES = frozenset({"SpoolDamage", "FileVanished", ANOTHER_NODES})
_OUR_FAULT = "An upload failed by a fault of the server."


def is_hopeless(error: StorageError) -> bool:
    """Whether a slice can never be uploaded: there is nothing to upload."""
    return error.code in _GONE_CODES


def open_store(shared: Shared, task_id: str) -> ObjectStore | StorageError:
    """The store of a task's bucket, or why there is none."""
    try:
        return shared.open_bucket(shared.spool.load_bucket(task_id))
    except StorageError as error:
        return error
    except SecretKeyError as error:
        return StorageError(0, "InvalidSecret", f"{error}.")
    except Exception as error:
        shared.faults.caught(error, task_id=task_id)
        return StorageError(0, "InternalError", _OUR_FAULT)


async def upload(
    shared: Shared, store: ObjectStore, task_id: str, name: str
) -> Slice | StorageError:
    """Upload a slice once: the slice, or why it is not stored.

    The error is returned: raised, it would keep the content in memory in its caller's frame.
    """
    try:
        found, item = await asyncio.get_running_loop().run_in_executor(
            shared.readers, _read, shared, task_id, name
        )
        await store.put(item)
    except StorageError as error:
        return error
    except DamagedSliceError as error:
        shared.spool.set_aside(task_id, name, str(error))
        return StorageError(0, "SpoolDamage", f"A slice's file is damaged: {error}.")
    except FileNotFoundError:
        shared.counters.vanished += 1
        return StorageError(0, "FileVanished", "A slice's file is gone from the spool.")
    except OSError as error:
        return StorageError(0, "SpoolUnreadable", f"{error.strerror or error}.")
    except Exception as error:
        shared.faults.caught(error, task_id=task_id, name=name)
        return StorageError(0, "InternalError", _OUR_FAULT)
    return found


def _read(shared: Shared, task_id: str, name: str) -> tuple[Slice, StoredObject]:
    """A slice, and what it is in its bucket; blocking; see `SliceSource.read`."""
    found, content = shared.spool.read(task_id, name)
    identity = found.origin.identity
    item = StoredObject(
        key=found.object_key,
        content=Content.of(content, found.sha256),
        content_type=_CONTENT_TYPES.get(found.origin.extension, "application/octet-stream"),
        metadata={
            **{name: str(value) for name, value in found.details.items()},
            "start-ms": str(found.start_ms),
            "duration-ms": str(found.duration_ms),
            "sha256": found.sha256,
            **({"identity": quote(identity, safe="@")} if identity else {}),
        },
    )
    return found, item
