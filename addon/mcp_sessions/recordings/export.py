"""Exports: chosen flows without their secrets, as a recording, as HAR and as a report, in a folder or a single file."""

from __future__ import annotations

import io as streams
import json
import os
import platform
import zipfile
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from mitmproxy import http, io
from mitmproxy import version as mitmproxy_version
from mitmproxy.addons.savehar import SaveHar

from ..core.records import AnyRecord, Violation
from ..proxy.metadata import EVIDENCE, NUMBER, OWN, PRESENTED, REFUSED, RULES, SENT_AGAIN, SESSION
from ..proxy.said import body_of
from ..rules.baseline import Baseline, Place, path_of
from ..wire.headers import HeaderMap
from ..wire.text import counted
from .faults import Broken
from .issue import issue
from .naming import Named
from .playback import Playback
from .reading import BODY_LIMIT, RecordingError, exchanges_in
from .redact import Redactor
from .report import About, report

_LEFT = frozenset({"type", "version", "id"})
"""Parts of a flow's state that name its kind, and are not text."""


class Export:
    """What is exported: made once, then written in any form."""

    def __init__(
        self,
        flows: Sequence[http.HTTPFlow],
        named: Named | None = None,
        *,
        recorder: Mapping[str, str] | None = None,
        keep_secrets: bool = False,
        known: Baseline | None = None,
    ) -> None:
        """Redact the flows, which are left as they are; copies are exported.

        `recorder`: who recorded them. `known`: violations that are not reported.
        """
        self.redactor = Redactor(named)
        self.redacted = not keep_secrets
        broken = violations(flows, known or Baseline())
        if self.redacted:
            for flow in flows:
                redacted(flow, self.redactor)
            for one in broken:
                self.redactor.text(one.detail)
            self.redactor.replacing()
            self.flows = [redacted(flow, self.redactor) for flow in flows]
            broken = [Broken(one.rule, self.redactor.text(one.detail), one.clause, one.exchange) for one in broken]
            recorder = {name: self.redactor.text(said) for name, said in (recorder or {}).items()}
        else:
            self.flows = list(flows)
        self._broken = broken
        self._versions = {**(recorder or {}), **_versions()}
        self._named = named or Named()

    def account(self) -> list[tuple[bool, str]]:
        """Of each word that the user named as secret: whether it has found anything, and how to say so."""
        if not self.redacted:
            return []
        recording = self.recording() if self._named.words else b""
        vault = self.redactor.vault
        return [
            word.told(vault.replaced(word.text), lambda text: text.encode() in recording) for word in self._named.words
        ]

    @property
    def cut_out_said(self) -> str:
        """How much was cut out because a user's pattern takes too long, for people."""
        return f"{counted(self.redactor.cut_out, 'value')} cut out whole, for a pattern of the user's took too long"

    def recording(self) -> bytes:
        """The flows as mitmproxy saves them."""
        file = streams.BytesIO()
        writer = io.FlowWriter(file)
        for flow in self.flows:
            writer.add(flow)
        return file.getvalue()

    def har(self) -> bytes:
        """The flows as an HTTP archive, by mitmproxy's own writer."""
        return json.dumps(SaveHar().make_har(self.flows), indent=1).encode("utf-8", "replace")

    def report(self) -> bytes:
        """The report in Markdown."""
        used, cut_out = self.redactor.vault.used, self.redactor.cut_out
        about = About(self._versions, self.redacted, used, cut_out)
        return report(exchanges_in(self.flows), self._broken, about).encode("utf-8", "replace")

    def issue(self) -> bytes:
        """The report in short."""
        versions = ", ".join(f"{name} {version}" for name, version in self._versions.items())
        return issue(exchanges_in(self.flows), self._broken, versions).encode("utf-8", "replace")

    def write(self, path: str | os.PathLike[str]) -> list[Path]:
        """Write what the name's ending asks for, or all of it into a folder; the files, readable by their owner alone.

        Raises:
            RecordingError: when something of that name exists, or it can't be written.
        """
        target = Path(path).expanduser()
        try:
            if target.suffix == ".zip":
                return [_written(target, self._zip())]
            form = next((form for ending, form in ENDINGS.items() if target.name.endswith(ending)), None)
            if form is not None:
                return [_written(target, form(self))]
            target.mkdir(mode=0o700, parents=True, exist_ok=True)
            return [_written(target / name, form(self)) for name, form in FORMS.items()]
        except FileExistsError as e:
            raise RecordingError(f"{e.filename}: exists already; name another, nothing is overwritten") from None
        except OSError as e:
            raise RecordingError(f"{target}: {e.strerror}") from None

    def _zip(self) -> bytes:
        file = streams.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, form in FORMS.items():
                archive.writestr(name, form(self))
        return file.getvalue()


FORMS: dict[str, Callable[[Export], bytes]] = {
    "flows.mitm": Export.recording,
    "flows.har": Export.har,
    "report.md": Export.report,
    "issue.md": Export.issue,
}
"""What a folder gets."""

ENDINGS = {"issue.md": Export.issue, ".mitm": Export.recording, ".har": Export.har, ".md": Export.report}
"""What a file holds, by how its name ends; the first that fits."""


def redacted(flow: http.HTTPFlow, redactor: Redactor) -> http.HTTPFlow:
    """A copy of a flow as the redactor would have it."""
    state: dict[str, Any] = dict(flow.get_state())
    state["backup"] = None  # what it was before somebody edited it
    presented = flow.metadata.get(PRESENTED)
    if isinstance(presented, str):
        redactor.session(presented)
    parts = {}
    for name, message in (("request", flow.request), ("response", flow.response)):
        part = state.pop(name, None)
        parts[name] = None if part is None or message is None else _message(part, message, redactor)
    rest = {key: value if key in _LEFT else redactor.anything(value) for key, value in state.items()}
    copy = http.HTTPFlow.from_state({**rest, **parts})
    assert isinstance(copy, http.HTTPFlow)
    return copy


def _message(part: dict[str, Any], message: http.Message, redactor: Redactor) -> dict[str, Any]:
    headers = message.headers.fields
    content = redactor.body(body_of(message, BODY_LIMIT), HeaderMap(headers).content_type)
    fields = [(n, v) for n, v in redactor.fields(headers) if n.lower() != b"content-encoding"]
    fields = [(n, b"%d" % len(content)) if n.lower() == b"content-length" else (n, v) for n, v in fields]
    changed = {**part, "headers": tuple(fields), "content": None if message.raw_content is None else content}
    if part.get("trailers"):
        changed["trailers"] = redactor.fields(tuple(part["trailers"]))
    for key in ("path", "host", "authority", "reason"):
        value = part.get(key)
        if value:
            text = value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")
            text = redactor.target(text) if key == "path" else redactor.text(text)
            changed[key] = text if isinstance(value, str) else text.encode("utf-8", "surrogateescape")
    return changed


def violations(flows: Sequence[http.HTTPFlow], known: Baseline) -> list[Broken]:
    """What these flows show to be broken that is not known: judged anew, with what was noted when recording."""
    told: list[AnyRecord] = []
    playback = Playback(told.append, lambda *_: None)
    for flow in flows:
        playback.add(flow)
    playback.play()
    judged = [one for one in told if isinstance(one, Violation)]
    found = [Broken(one.rule, one.detail, one.clause, one.flow) for one in judged if not known.knows(one)]
    seen: set[tuple[str, object]] = {(one.rule, one.flow) for one in judged}
    # A request that was sent again shows its second answer; the first is in a flow of its own, and was judged there.
    refused = {flow.id: _request_of(flow) for flow in flows if flow.metadata.get(OWN) == REFUSED}
    judged_there = {(one.rule, refused[one.flow]) for one in judged if one.flow in refused}
    for flow in flows:
        noted, own = flow.metadata.get(RULES), OWN in flow.metadata
        # What the proxy has ended by several requests was left once.
        shown_by = (flow.metadata.get(NUMBER), flow.metadata.get(SESSION)) if own else flow.id
        for rule in noted if isinstance(noted, (list, tuple)) else ():
            is_known = own and known.has(Place(str(rule), "", path_of(flow.request.url)))
            if SENT_AGAIN in flow.metadata and (str(rule), _request_of(flow)) in judged_there:
                continue
            if (str(rule), shown_by) not in seen and not is_known:
                seen.add((str(rule), shown_by))
                found.append(Broken(str(rule), str(flow.metadata.get(EVIDENCE, "")), exchange=flow.id))
    return found


def _request_of(flow: http.HTTPFlow) -> tuple[object, ...]:
    """What two flows of one request have in common."""
    return flow.metadata.get(NUMBER), flow.request.method, flow.request.raw_content


def _written(path: Path, content: bytes) -> Path:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    return path


def _versions() -> dict[str, str]:
    """What made the export."""
    return {
        "mitmproxy-mcp-sessions": _version("mitmproxy-mcp-sessions"),
        "mitmproxy": mitmproxy_version.VERSION,
        "Python": f"{platform.python_version()} on {platform.system()}",
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "from a checkout"
