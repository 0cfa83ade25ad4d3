"""What a store is to be told of sessions that have changed: rows to be written, and keys to be forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from ..core.core import Core
from ..core.session import Session
from ..processes.place import Place
from .rows import Key, Row, found, key_of, row_of


class Due(NamedTuple):
    """What the store is to be told."""

    used: list[Row]
    changed: list[Row]
    known: list[Key]
    """Those of the changed that were written down before, and are not again if another proxy has ended them."""
    over: list[Key]
    evicted: list[Key]


def due(core: Core, here: Place, sessions: Iterable[Session], failed: Callable[[Exception], None]) -> Due:
    """What is to be told of these sessions; those that were used are so no more. `failed` is told of errors."""
    told, ledger = Due([], [], [], [], []), core.ledger
    for session in dict.fromkeys(sessions):
        if session.number not in ledger.sessions and _is_no_matter(session, core):
            continue
        used = ledger.touched.pop(session, False) is None
        try:
            key = key_of(session, core.fingerprints)
            if session.over and not core.ending.may_return(session):
                told.over.append(key)
            elif session.number not in ledger.sessions and not session.over:
                told.evicted.append(key)
            else:
                (told.used if used else told.changed).append(row_of(session, here, core.fingerprints))
                told.known.extend([key] if session.stored and not used else ())
        except Exception as e:  # the others are to be remembered all the same
            failed(e)
    return told


def _is_no_matter(session: Session, core: Core) -> bool:
    """Whether another session has the row of one that is known no more, or its server never accepted its client."""
    if session.whose is not None and not session.given:
        return True
    return found(key_of(session, core.fingerprints), core.ledger, core.fingerprints) is not None
