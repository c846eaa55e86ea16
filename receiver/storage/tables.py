"""Every table, in the words of the design."""

import sqlalchemy as sa

from receiver.storage.db import Moment

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows by itself only if the type is INTEGER: sqlite.org/rowidtable.html.
Number = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _number() -> sa.Column[int]:
    """Return the column that numbers rows in the order they were written: the key of every table, and its cursor."""
    return sa.Column("seq", Number, primary_key=True, autoincrement=True)


# One row for each event. It holds the first delivery, byte for byte, and is also its entry in the queue: state
# `accepted` means that no worker has routed it yet. So an event cannot be stored and yet not be queued.
events = sa.Table(
    "events",
    metadata,
    _number(),
    sa.Column("id", sa.String(26), nullable=False),
    sa.Column("source", sa.String(40), nullable=False),
    sa.Column("type", sa.String(250), nullable=False),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("identity", sa.String(200), nullable=False),
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("received_at", Moment, nullable=False),
    sa.Column("occurred_at", Moment),
    sa.Column("deliveries", sa.Integer, nullable=False, server_default="1"),
    sa.Column("verified_by", sa.String(40), nullable=False),
    sa.Column("drift", sa.JSON),
    sa.Column("headers", sa.LargeBinary, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.UniqueConstraint("id"),
    sa.UniqueConstraint("source", "identity"),
    sqlite_autoincrement=True,
)
# Written out, not bound: a database uses a partial index only if the query has the literal of the index
# (sqlite.org/partialindex.html, section 3).
is_unrouted = events.c.state == sa.literal("accepted", literal_execute=True)
sa.Index("ix_events_unrouted", events.c.seq, sqlite_where=is_unrouted, postgresql_where=is_unrouted)

# The second and later deliveries of an event. The body is stored only if it differs from the first one's.
deliveries = sa.Table(
    "deliveries",
    metadata,
    _number(),
    sa.Column("event_id", sa.String(26), sa.ForeignKey("events.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("received_at", Moment, nullable=False),
    sa.Column("verified_by", sa.String(40), nullable=False),
    sa.Column("headers", sa.LargeBinary, nullable=False),
    sa.Column("body", sa.LargeBinary),
)

# Deliveries whose signature did not verify, and requests to /hooks that were refused before that. Anybody can send
# them, so they have a table of their own, with a limit. `room` and `lane` (roughly: who sent it and when) decide what
# is deleted if there are too many (receiver/inbox/rejected.py). If the body `is_cut`, only its beginning is stored;
# `announced` is the length that the request announced, if it did.
rejected = sa.Table(
    "rejected",
    metadata,
    _number(),
    sa.Column("id", sa.String(26), nullable=False),
    sa.Column("source", sa.String(40), nullable=False),
    sa.Column("received_at", Moment, nullable=False),
    sa.Column("reason", sa.String(30), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("headers", sa.LargeBinary, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("room", sa.String(10), nullable=False, server_default="formed"),
    sa.Column("lane", sa.String(20), nullable=False, server_default=""),
    sa.Column("status", sa.Integer, nullable=False, server_default="401"),
    sa.Column("method", sa.String(40), nullable=False, server_default="POST"),
    sa.Column("path", sa.Text),
    sa.Column("is_cut", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("announced", Number),
    sa.UniqueConstraint("id"),
    sa.Index("ix_rejected_size", "seq", "size"),
    sa.Index("ix_rejected_room", "room", "lane", "seq", "size"),
    sqlite_autoincrement=True,
)

# Deliveries that verified but cannot be read; a provider's retry is counted on the same row.
quarantined = sa.Table(
    "quarantined",
    metadata,
    _number(),
    sa.Column("id", sa.String(26), nullable=False),
    sa.Column("source", sa.String(40), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("received_at", Moment, nullable=False),
    sa.Column("deliveries", sa.Integer, nullable=False, server_default="1"),
    sa.Column("verified_by", sa.String(40), nullable=False),
    sa.Column("errors", sa.JSON, nullable=False),
    sa.Column("headers", sa.LargeBinary, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.UniqueConstraint("id"),
    sa.UniqueConstraint("source", "digest"),
    sqlite_autoincrement=True,
)

# `due_at` is the one clock of a job: when a waiting job is to run, when the lease of a running one ends. It is NULL
# once the job is done or dead, or waits for a handler that is paused or that no worker has. `spent_before` counts the
# attempts before the last replay: they do not count against the budget.
jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", Number, primary_key=True, autoincrement=True),
    sa.Column("event_id", sa.String(26), sa.ForeignKey("events.id", ondelete="CASCADE"), nullable=False),
    sa.Column("handler", sa.String(250), nullable=False),
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),
    sa.Column("spent_before", sa.Integer, nullable=False, server_default="0"),
    sa.Column("due_at", Moment),
    sa.Column("started_at", Moment),
    sa.Column("worker", sa.String(26)),
    sa.Column("reason", sa.Text),
    sa.Column("discarded_at", Moment),  # of a dead job that is off all lists and alarms
    sa.Column("discarded_reason", sa.Text),
    sa.UniqueConstraint("event_id", "handler"),
    sqlite_autoincrement=True,
)
sa.Index(
    "ix_jobs_due",
    jobs.c.state,
    jobs.c.due_at,
    sqlite_where=jobs.c.due_at.is_not(None),
    postgresql_where=jobs.c.due_at.is_not(None),
)
_has_died = jobs.c.state == sa.literal("dead", literal_execute=True)
sa.Index("ix_jobs_dead", jobs.c.handler, jobs.c.id, sqlite_where=_has_died, postgresql_where=_has_died)
# A dead letter is dead and not discarded: it is counted, listed, and raises alarms.
is_dead = sa.and_(_has_died, jobs.c.discarded_at.is_(None))
sa.Index("ix_jobs_dead_letters", jobs.c.handler, jobs.c.id, sqlite_where=is_dead, postgresql_where=is_dead)
is_discarded = sa.and_(_has_died, jobs.c.discarded_at.is_not(None))
# The jobs of a handler that is paused, or that no worker has, wait without a time (docs/decisions/0012, 0018).
is_held = sa.and_(jobs.c.state == sa.literal("waiting", literal_execute=True), jobs.c.due_at.is_(None))
sa.Index("ix_jobs_held", jobs.c.handler, jobs.c.id, sqlite_where=is_held, postgresql_where=is_held)

attempts = sa.Table(
    "attempts",
    metadata,
    _number(),
    sa.Column("job_id", Number, sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("started_at", Moment, nullable=False),
    sa.Column("finished_at", Moment, nullable=False),
    sa.Column("outcome", sa.String(10), nullable=False),
    sa.Column("error", sa.Text),
)

# A row that `/readyz` writes to prove that a commit works (1), and one that workers write while they live (2).
pulse = sa.Table(
    "pulse",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", Moment, nullable=False),
)

# The workers that run, and those that died lately, each with what it has loaded: receiver/jobs/loaded.py reads it. A
# worker lives while its `seen_at` is recent; one that ends in order deletes its row.
workers = sa.Table(
    "workers",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("host", sa.String(255), nullable=False),
    sa.Column("pid", Number, nullable=False),
    sa.Column("started_at", Moment, nullable=False),
    sa.Column("seen_at", Moment, nullable=False),
    sa.Column("loaded_at", Moment, nullable=False),  # when `loaded` was written
    sa.Column("loaded", sa.JSON, nullable=False),
)

# What the workers have loaded, as they reported at their start: handlers, and modules that do not import. A row stays
# while its workers are away (docs/decisions/0018). `paused_at` keeps a handler's jobs from running.
handlers = sa.Table(
    "handlers",
    metadata,
    sa.Column("name", sa.String(250), primary_key=True),
    sa.Column("module", sa.String(250), nullable=False),
    sa.Column("patterns", sa.JSON, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("summary", sa.Text, nullable=False),
    sa.Column("trouble", sa.Text),  # the traceback of a module that does not import
    sa.Column("loaded_at", Moment, nullable=False),
    sa.Column("paused_at", Moment),
    # The packages whose loading connects it, if known; [] if a later worker loaded them without it.
    sa.Column("packages", sa.JSON(none_as_null=True)),
    sa.Column("had_at", Moment),  # when a worker that had it was last seen, if known
)

# URLs that record any request, each with its response. `captured` counts all requests ever, and numbers the captures.
# These are deleted from the lowest number on, so the lowest number left tells how many are kept.
bins = sa.Table(
    "bins",
    metadata,
    _number(),
    sa.Column("name", sa.String(60), nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("is_auto", sa.Boolean, nullable=False, server_default=sa.false()),  # made by its first request
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("headers", sa.LargeBinary, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("delay_ms", sa.Integer, nullable=False),
    sa.Column("fail_every", sa.Integer, nullable=False),
    sa.Column("fail_status", sa.Integer, nullable=False),
    sa.Column("keep_count", sa.Integer, nullable=False),
    sa.Column("keep_seconds", sa.Integer),
    sa.Column("secret_digest", sa.String(64)),
    sa.Column("captured", Number, nullable=False, server_default="0"),
    sa.Column("captured_at", Moment),
    sa.UniqueConstraint("name"),
    sqlite_autoincrement=True,
)

captures = sa.Table(
    "captures",
    metadata,
    _number(),
    sa.Column("id", sa.String(26), nullable=False),
    sa.Column("bin", sa.String(60), sa.ForeignKey("bins.name", ondelete="CASCADE"), nullable=False),
    sa.Column("number", Number, nullable=False),
    sa.Column("captured_at", Moment, nullable=False),
    sa.Column("method", sa.String(40), nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("query", sa.Text, nullable=False),
    sa.Column("client", sa.String(60), nullable=False),
    sa.Column("answered", sa.Integer, nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("headers", sa.LargeBinary, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("is_cut", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("announced", Number),  # the length that a cut body was announced with, if any
    sa.UniqueConstraint("id"),
    sa.UniqueConstraint("bin", "number"),
    sqlite_autoincrement=True,
)

# What all processes counted together, in spans of 1, 5, 20 and 120 minutes (`step`, in seconds) and since the beginning
# (0): deliveries by source and attempts by handler, each by outcome. receiver/observe/metrics writes the same counts
# for every step, so that a long window is read from few rows.
tallies = sa.Table(
    "tallies",
    metadata,
    _number(),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("kind", sa.String(10), nullable=False),
    sa.Column("began_at", Moment, nullable=False),
    sa.Column("subject", sa.String(250), nullable=False),
    sa.Column("outcome", sa.String(20), nullable=False),
    sa.Column("count", Number, nullable=False),
    sa.Column("milliseconds", sa.Float, nullable=False),  # the sum of all durations
    sa.Column("spread", sa.JSON, nullable=False),  # how many fell into each bucket of time
    sa.UniqueConstraint("step", "kind", "began_at", "subject", "outcome"),
)

# What `signalbox box apply` made at Box, or found there as the file wants it; one for each file or folder. The row is
# written before the request to Box (`making`), and again with the webhook's id (`live`); WEBHOOK.DELETED makes it
# `dead`. `died_at` stays until there is another webhook, also while that is `making`.
registrations = sa.Table(
    "registrations",
    metadata,
    _number(),
    sa.Column("target_type", sa.String(10), nullable=False),
    sa.Column("target_id", sa.String(20), nullable=False),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("triggers", sa.JSON, nullable=False),
    sa.Column("webhook_id", sa.String(40)),
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("is_ours", sa.Boolean, nullable=False),  # made here: `apply` may delete it
    sa.Column("noted_at", Moment, nullable=False),
    sa.Column("seen_at", Moment),  # when Box last sent all of its fields
    sa.Column("died_at", Moment),
    sa.Column("reason", sa.String(100)),  # why it died, in Box's words
    sa.Column("tried_at", Moment),  # when AUTO_REREGISTER last tried to create it again
    sa.UniqueConstraint("target_type", "target_id"),
)

# Logins to the pages: open until `ended_at` is set. `id` is the digest of the browser's cookie, `opened_by` tells one
# ADMIN_PASSWORD from another. Rows stay after their end: they show from which networks somebody logged in before.
logins = sa.Table(
    "logins",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("opened_by", sa.String(32), nullable=False),
    sa.Column("network", sa.String(60), nullable=False),
    sa.Column("began_at", Moment, nullable=False),
    sa.Column("seen_at", Moment, nullable=False),
    sa.Column("ended_at", Moment),
    sa.Index("ix_logins_network", "network", "seen_at"),
)
