"""The table of webhooks.

Times in `_ms` are UTC, but for `since_ms` and `kept_from_ms`, which are of the clock that is steady
over restarts. Those in `_at` are monotonic seconds of the process that wrote them.
"""

from cloudslice.migrations import Schema

SCHEMA = Schema(
    "webhooks",
    (
        """
CREATE TABLE webhooks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    subject TEXT NOT NULL,                      -- task or room: events about one go in order
    sdk_app_id INTEGER NOT NULL,
    event_type INTEGER NOT NULL,
    body BLOB NOT NULL,
    created_ms INTEGER NOT NULL,
    since_ms INTEGER NOT NULL,                  -- from when on its retention counts
    state INTEGER NOT NULL DEFAULT 0,           -- see outbox.State
    attempts INTEGER NOT NULL DEFAULT 0,
    first_at REAL,                              -- of REPEATED: when its first attempt started
    due_at REAL,                                -- of REPEATED: when its next attempt is due
    last_error TEXT,
    ended_ms INTEGER,                           -- when it was delivered or given up
    kept_from_ms INTEGER                        -- likewise, for the time that it is kept
);
CREATE INDEX webhooks_in_line ON webhooks (sdk_app_id, id) WHERE state = 0;
CREATE INDEX webhooks_repeated ON webhooks (sdk_app_id, due_at) WHERE state = 1;
CREATE INDEX webhooks_ended ON webhooks (kept_from_ms, id) WHERE state >= 2;
""",
    ),
)
