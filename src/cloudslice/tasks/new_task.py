"""A new task of what a CreateCloudSliceTask asks for."""

import hashlib
import json
from dataclasses import asdict

from cloudslice.tasks.model import TaskSpec
from cloudslice.tasks.store import StoredTask
from cloudslice.tasks.task_id import new_task_id

REPEATED_WITHIN_MS = 60_000
"""SDKs repeat what they got no answer to within some ten seconds."""


def make_task(spec: TaskSpec, now_ms: int) -> StoredTask:
    """The task, created at `now_ms` of a clock that is steady over restarts."""
    return StoredTask(
        task_id=new_task_id(),
        room=spec.room,
        robot_user_id=spec.robot_user_id,
        user_sig=spec.user_sig,
        private_map_key=spec.private_map_key,
        slicing=spec.slicing,
        lists=spec.lists,
        bucket=spec.bucket,
        request=_digest(spec),
        created_ms=now_ms,
        callable_until_ms=now_ms + spec.resource_expired_hours * 3_600_000,
    )


def _digest(spec: TaskSpec) -> bytes:
    if spec.is_of_rule:  # its UserSig has the time in it
        asked = ["rule", asdict(spec.room), spec.robot_user_id]
        return hashlib.sha256(json.dumps(asked).encode()).digest()
    # Nobody can guess what is in it: a UserSig and a storage key are.
    return hashlib.sha256(json.dumps(asdict(spec), default=str).encode()).digest()
