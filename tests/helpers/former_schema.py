"""The tables of delivery as former versions had them.

Times in `_ms` are UTC, but for `slices.created_ms` and `events.first_ms`, which are of the clock
that is steady over restarts. Those in `_at` are monotonic seconds, which mean nothing after a
restart and are set anew then.
"""

from cloudslice.migrations import Schema

SCHEMA = Schema(
    "delivery",
    (
        """
CREATE TABLE consignors (
    task_id TEXT PRIMARY KEY,
    sdk_app_id INTEGER NOT NULL,
    room_id TEXT NOT NULL,                      -- JSON: a number or a text, as events carry it
    robot_user_id TEXT NOT NULL,
    vendor INTEGER NOT NULL,
    region TEXT NOT NULL,
    bucket TEXT NOT NULL,
    prefix TEXT NOT NULL,                       -- JSON list
    credentials BLOB NOT NULL,                  -- JSON [access key, secret key], encrypted
    ended INTEGER NOT NULL DEFAULT 0,           -- 1002 is recorded; no slice will be added
    uploads_announced INTEGER NOT NULL DEFAULT 0,  -- 1003 is recorded
    incomplete_announced INTEGER NOT NULL DEFAULT 0,  -- 1005 with Status 1 is recorded
    lost INTEGER NOT NULL DEFAULT 0             -- finished slices that never reached the bucket
);
CREATE TABLE failures (
    task_id TEXT NOT NULL REFERENCES consignors ON DELETE CASCADE,
    status INTEGER NOT NULL,
    code TEXT NOT NULL,
    PRIMARY KEY (task_id, status, code)
) WITHOUT ROWID;
CREATE TABLE name_lanes (
    id INTEGER PRIMARY KEY,
    task_id TEXT NOT NULL REFERENCES consignors ON DELETE CASCADE,
    user_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    extension TEXT NOT NULL,
    UNIQUE (task_id, user_id, kind, extension)
);
CREATE TABLE names (
    lane_id INTEGER NOT NULL REFERENCES name_lanes ON DELETE CASCADE,
    second INTEGER NOT NULL,
    PRIMARY KEY (lane_id, second)
) WITHOUT ROWID;
CREATE TABLE slices (
    id INTEGER PRIMARY KEY AUTOINCREMENT,       -- never used twice: it names the file in the spool
    task_id TEXT NOT NULL REFERENCES consignors,
    user_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    extension TEXT NOT NULL,
    object_key TEXT NOT NULL,
    utc_second INTEGER NOT NULL,                -- in the key
    start_ms INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    waiting INTEGER NOT NULL DEFAULT 0,         -- complete and in the spool
    duration_ms INTEGER,
    details TEXT NOT NULL DEFAULT '{}',         -- JSON object
    size INTEGER,
    sha256 TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    due_at REAL NOT NULL DEFAULT 0
);
CREATE INDEX slices_waiting ON slices (id) WHERE waiting;
CREATE INDEX slices_due ON slices (task_id, waiting, due_at, id);
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    subject TEXT NOT NULL,                      -- task or room: events about one go in order
    sdk_app_id INTEGER NOT NULL,
    event_type INTEGER NOT NULL,
    body BLOB NOT NULL,
    created_ms INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    first_ms INTEGER,
    first_at REAL,
    due_at REAL NOT NULL,
    outcome TEXT,                               -- delivered, given up; NULL while it is tried
    last_error TEXT,
    done_ms INTEGER
);
CREATE INDEX events_new ON events (sdk_app_id, id) WHERE outcome IS NULL AND attempts = 0;
CREATE INDEX events_retried ON events (sdk_app_id, due_at) WHERE outcome IS NULL AND attempts > 0;
CREATE INDEX events_done ON events (done_ms) WHERE outcome IS NOT NULL;
""",
        """
CREATE TABLE removals (
    slice_id INTEGER PRIMARY KEY,               -- a slice off the record whose file is to go
    size INTEGER,
    sha256 TEXT                                 -- and what is in that file
);
""",
        # Only what is still to be delivered is kept.
        """
CREATE TABLE unsent_events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    subject TEXT NOT NULL,                      -- task or room: events about one go in order
    sdk_app_id INTEGER NOT NULL,
    event_type INTEGER NOT NULL,
    body BLOB NOT NULL,
    created_ms INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    first_ms INTEGER,
    first_at REAL,
    due_at REAL NOT NULL,
    last_error TEXT
);
INSERT INTO unsent_events
    SELECT id, subject, sdk_app_id, event_type, body, created_ms, attempts, first_ms, first_at,
        due_at, last_error
    FROM events WHERE outcome IS NULL AND attempts = 0
    UNION ALL                                   -- in two parts, as each has an index
    SELECT id, subject, sdk_app_id, event_type, body, created_ms, attempts, first_ms, first_at,
        due_at, last_error
    FROM events WHERE outcome IS NULL AND attempts > 0;
DROP TABLE events;
ALTER TABLE unsent_events RENAME TO events;
CREATE INDEX events_new ON events (sdk_app_id, id) WHERE attempts = 0;
CREATE INDEX events_retried ON events (sdk_app_id, due_at) WHERE attempts > 0;
""",
    ),
)
