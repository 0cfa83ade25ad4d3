"""What only other proxies of the fleet know, in the words of the tables and the page: sessions, and their clients.

It comes from a shared ledger, and from the wire before that: bounded, printable, and no session id is given whole.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from mitmproxy import http

from ..core.credentials import APART
from ..core.session import Endpoint, shorten
from ..core.states import STANDINGS, ClientSide, ServerSide
from ..proxy.metadata import NUMBER
from ..store.redis.overview import Held, Lookout, Overview
from ..wire.jsonrpc import load
from ..wire.text import counted, printable

WORDS = 60
"""Characters of a client's name."""

MOST = 20
"""Proxies that a report names."""


def label(held: Held) -> str:
    """What the session is called."""
    return shorten(held.row.client_id.partition(APART)[0])


def state(held: Held) -> str:
    """How it stands, in a word."""
    with suppress(KeyError, ValueError):
        sides = ClientSide(held.row.client), ServerSide(held.row.server)
        return STANDINGS[(*sides, bool(held.row.kept))].word.value
    return "unknown"


def client(held: Held) -> str:
    """Its latest client."""
    owners = _owners(held)
    return _named(owners[-1]) if owners else "unknown"


def says(held: Held) -> str:
    """What its client calls itself."""
    with suppress(ValueError):
        info = (load((held.row.parameters or "{}").encode()) or {}).get("clientInfo")
        told = [info.get("name"), info.get("version")] if isinstance(info, dict) else []
        return " ".join(printable(word, WORDS) for word in told if isinstance(word, str))
    return ""


def endpoint(held: Held) -> str:
    """Where its server is."""
    return printable(str(Endpoint(*held.row[:4])), 200)


def clients(overview: Overview) -> dict[tuple[str, str], list[Held]]:
    """The sessions of each client that this proxy does not know, by its name and the proxy that holds them."""
    found: dict[tuple[str, str], list[Held]] = {}
    for held in overview.others:
        found.setdefault((client(held), overview.named(held.holder)), []).append(held)
    return found


def named(overview: Overview | None, name: str) -> list[Held]:
    """Those that a user may mean by a label or the beginning of an id."""
    others = overview.others if overview is not None and name else ()
    return [held for held in others if held.row.client_id.startswith(name) or label(held) == name]


def members(overview: Overview) -> list[dict[str, Any]]:
    """The proxies, this one first, then those that live."""
    known = sorted(overview.members.items(), key=lambda item: (item[0] != overview.me, item[1].dead, item[1].name))
    return [
        {
            "name": member.name,
            "here": id == overview.me,
            "dead": member.dead,
            "silent": member.silent,
            "sessions": member.sessions,
        }
        for id, member in known
    ]


async def recorder(lookout: Lookout | None, flows: Iterable[http.HTTPFlow]) -> dict[str, str]:
    """Which proxy has recorded these flows, and who holds their sessions, for a report; nothing where there is one."""
    if lookout is None:
        return {}
    overview = await lookout.look()
    me = overview.members.get(overview.me)
    numbers = {flow.metadata.get(NUMBER) for flow in flows}
    held = Counter(overview.named(holder) for number, holder in overview.mine.items() if number in numbers)
    by = f"{me.name if me else 'one'} of {counted(len(overview.members), 'proxy', 'proxies')} that share a ledger"
    said = {"proxy": f"{by}; what passed through another one is not in it" if len(overview.members) > 1 else by}
    if held:
        said["sessions held"] = ", ".join(f"{count} {holder}" for holder, count in held.most_common(MOST))
    return said


def page(overview: Overview) -> dict[str, Any]:
    """All of it, as the page gets it: sessions and clients as `rows.changes` gives them, their numbers below zero."""
    sessions = [_session(overview, held) for held in overview.others]
    known = {one["client"]: held for one, held in zip(sessions, overview.others, strict=True)}
    return {
        "members": members(overview),
        "free": overview.free,
        "holders": {
            str(number): overview.named(holder) for number, holder in overview.mine.items() if holder != overview.me
        },
        "sessions": sessions,
        "clients": [
            {"n": n, "label": client(held), "says": says(held), "gone": None, "connections": 0, "elsewhere": True}
            for n, held in known.items()
        ],
        "left_out": overview.left_out,
        "problem": overview.problem,
    }


def _session(overview: Overview, held: Held) -> dict[str, Any]:
    row, holder = held.row, overview.named(held.holder)
    return {
        "n": _below_zero(held.name),
        "label": label(held),
        "state": state(held),
        "client": _below_zero(f"{client(held)} {holder}"),
        "endpoint": endpoint(held),
        "revision": printable(row.revision, 40),
        "requests": row.requests,
        "recoveries": row.recoveries,
        "opened": row.opened,
        "by": printable(row.opened_by, 40),
        "used": row.last_used,
        "kept": bool(row.kept),
        "evidence": "",
        "ended": None,
        "enders": "",
        "streams": [],
        "violations": {},
        "moments": [],
        "holder": holder,
    }


def _below_zero(text: str) -> int:
    """A number that means the same thing at each look, and no session or client of this proxy's."""
    return -1 - int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest())


def _owners(held: Held) -> list[Mapping[str, Any]]:
    with suppress(ValueError):
        owners = json.loads(held.row.owners)
        if isinstance(owners, list):
            return [owner for owner in owners if isinstance(owner, dict)]
    return []


def _named(owner: Mapping[str, Any]) -> str:
    pid = owner.get("pid")
    name = printable(str(owner.get("name", "")), WORDS)
    return printable(str(owner.get("host", "")), WORDS) if pid is None else f"{name}[{pid}]"
