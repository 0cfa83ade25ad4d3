"""The schema of the file, as the steps that lead to it. Released ones are never changed: append."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE proxies (
        id TEXT PRIMARY KEY, place TEXT NOT NULL, pid INTEGER NOT NULL, started REAL NOT NULL, seen REAL NOT NULL
    ) STRICT;
    CREATE TABLE sessions (
        scheme TEXT NOT NULL, host TEXT NOT NULL, port INTEGER NOT NULL, path TEXT NOT NULL, client_id TEXT NOT NULL,
        server_id TEXT NOT NULL, state TEXT NOT NULL, opened REAL NOT NULL, last_used REAL NOT NULL,
        stream_aborted_at REAL, revision TEXT NOT NULL, initialize TEXT, answer TEXT, generation INTEGER NOT NULL,
        recoveries INTEGER NOT NULL, requests INTEGER NOT NULL, answered INTEGER NOT NULL, replaced TEXT NOT NULL,
        held TEXT NOT NULL, owners TEXT NOT NULL, flags INTEGER NOT NULL, evidence TEXT NOT NULL,
        opened_by TEXT NOT NULL, proxy TEXT NOT NULL,
        PRIMARY KEY (scheme, host, port, path, client_id)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX sessions_of_proxy ON sessions (proxy);
    """,
    # A session became two machines, one for each side, and its evidence a reason with a kind, or two: why it is ended,
    # and why that failed. Flags were: 1 kept, 2 left, 4 returnable. What does not fit becomes a word that no side has,
    # so that the row is refused when it is read.
    """
    DROP INDEX sessions_of_proxy;
    ALTER TABLE sessions RENAME TO sessions_1;
    CREATE TABLE sessions (
        scheme TEXT NOT NULL, host TEXT NOT NULL, port INTEGER NOT NULL, path TEXT NOT NULL, client_id TEXT NOT NULL,
        server_id TEXT NOT NULL, client TEXT NOT NULL, server TEXT NOT NULL, kept INTEGER NOT NULL, reason TEXT,
        reason_text TEXT NOT NULL, outcome TEXT, outcome_text TEXT NOT NULL, opened REAL NOT NULL,
        last_used REAL NOT NULL, stream_aborted_at REAL, revision TEXT NOT NULL, parameters TEXT, result TEXT,
        generation INTEGER NOT NULL, recoveries INTEGER NOT NULL, requests INTEGER NOT NULL, answered INTEGER NOT NULL,
        replaced TEXT NOT NULL, held TEXT NOT NULL, owners TEXT NOT NULL, opened_by TEXT NOT NULL, proxy TEXT NOT NULL,
        PRIMARY KEY (scheme, host, port, path, client_id)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX sessions_of_proxy ON sessions (proxy);
    INSERT INTO sessions SELECT
        scheme, host, port, path, client_id, server_id,
        CASE
            WHEN state = 'leaving' THEN 'leaving'
            WHEN flags & 2 THEN 'left'
            WHEN state IN ('open', 'lost', 'recovering') THEN 'using'
            WHEN state IN ('ending', 'stuck') AND why = 'by hand' THEN 'left'
            WHEN state = 'closed' AND NOT flags & 4 THEN 'left'
            ELSE 'gone'
        END,
        CASE state
            WHEN 'open' THEN 'alive'
            WHEN 'leaving' THEN 'alive'
            WHEN 'abandoned' THEN 'alive'
            WHEN 'ending' THEN 'deleting'
            WHEN 'closed' THEN 'deleted'
            ELSE state
        END,
        flags & 1,
        CASE
            WHEN why = '' THEN NULL
            WHEN why LIKE 'process gone: %' THEN 'process gone'
            WHEN why LIKE 'stream aborted by its client%' THEN 'stream aborted'
            WHEN why LIKE 'no connection and no request for %' THEN 'idle'
            WHEN why LIKE 'its client''s DELETE was %' THEN 'delete cut'
            WHEN why = 'by hand' THEN 'by hand'
            WHEN why = 'the proxy ends' THEN 'proxy ends'
            ELSE 'unknown'
        END,
        why,
        CASE
            WHEN state <> 'stuck' THEN NULL
            WHEN evidence LIKE '%; needs credentials (DELETE answered 40_)' THEN 'needs credentials'
            WHEN evidence GLOB '*, [0-9] times' THEN 'no answer'
            WHEN evidence GLOB '*; DELETE answered [0-9][0-9][0-9]' THEN 'refused'
            ELSE 'unknown'
        END,
        came, opened, last_used, stream_aborted_at, revision, initialize, answer, generation, recoveries, requests,
        answered, replaced, held, owners, opened_by, proxy
    FROM (
        SELECT
            *,
            CASE WHEN parted THEN substr(evidence, 1, parted - 1) ELSE evidence END AS why,
            CASE WHEN parted THEN substr(evidence, parted + 2) ELSE '' END AS came
        FROM (SELECT *, CASE WHEN state = 'stuck' THEN instr(evidence, '; ') ELSE 0 END AS parted FROM sessions_1)
    );
    DROP TABLE sessions_1;
    """,
    # Of the credentials of a session a hash is kept, with a key that is made for this file. Nobody knows those before.
    """
    ALTER TABLE sessions ADD COLUMN credentials TEXT;
    CREATE TABLE secret (key BLOB NOT NULL) STRICT;
    """,
)
"""What brings a file from version n to n + 1."""


def statements(script: str) -> Iterator[str]:
    """The statements of one step, one by one, as they run in a transaction that is not theirs."""
    statement = ""
    for part in script.split(";"):
        statement += f"{part};"
        if sqlite3.complete_statement(statement):
            if statement.strip("; \n"):
                yield statement
            statement = ""
