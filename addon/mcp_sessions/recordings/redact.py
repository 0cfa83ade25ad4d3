"""Redaction: headers, URLs and bodies without their secrets. Told everything twice, first to learn, then to replace.

What is a secret is decided where it stands (an `Authorization` header, a member called `password`); it is then replaced
wherever it stands, within JSON, event streams, base64 and URL encoding, too.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from pydantic_core import from_json

from ..wire import headers as h
from ..wire.headers import Fields
from ..wire.jsonrpc import dump
from . import members, patterns
from .naming import Named
from .vault import PLACEHOLDER, WORTH_SEEKING, Kind, Vault

DEPTH = 6
"""How often something may be wrapped in something else (base64 in a URL in JSON in ...) and still be looked into."""

NESTING = 200
"""Levels of a JSON document that are looked into; what lies deeper is cut off."""

CUT = "<too deep>"

CUT_OUT = "<cut-out>"
"""What stands in the place of a value through which a user's pattern could not be searched in time."""

_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{12,}={0,2}")
_TOKEN = re.compile(r"[^\s\"'<>&?#=;,{}\[\]|]++")
"""What may be in URL encoding. Taken as a whole and looked at then: a pattern that asks for `%` in it takes the square
of its length."""
_CODE = re.compile(r"%[0-9A-Fa-f]{2}")
_SCHEME = re.compile(r"(?i)(bearer|basic|digest|negotiate|token|apikey|dpop)(\s+)(.+)", re.S)
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r|$)")
_LINE_END = re.compile(r"[\r\n]+$")
_BOM = "\ufeff"
_SCHEMA_WORDS = frozenset({"type", "$ref", "anyOf", "oneOf", "allOf", "enum", "const", "properties", "format"})


class Redactor:
    """Walks whatever it is given; `learn` first over everything there is, then `replace` over it again."""

    def __init__(self, named: Named | None = None) -> None:
        self.vault = Vault()
        self._named = named or Named()
        self._learning = True
        for text in self._named.texts:
            self.vault.learn(text)
        self._not_searched: set[str] = set()
        """Values that a user's pattern takes too long for."""
        self._repeating: set[str] = set()
        """Documents with a secret under a name that comes once more: whoever reads them sees the last one alone."""
        self.cut_out = 0
        """How often such a value was cut out."""

    def replacing(self) -> None:
        """Everything was seen once: from now on what is returned is redacted."""
        self._learning = False

    # Parts of a message

    def fields(self, fields: Fields) -> Fields:
        """Header fields."""
        return tuple(
            (name, self._header(name.decode("latin-1").lower(), _read(value)).encode("utf-8", "surrogateescape"))
            for name, value in fields
        )

    def target(self, path: str) -> str:
        """The path and query of a URL."""
        path, mark, query = path.partition("?")
        segments = [
            quote(self._secret(unquote(segment))) if patterns.OPAQUE.fullmatch(segment) else self.text(segment)
            for segment in path.split("/")
        ]
        return "/".join(segments) + mark + self._query(query)

    def body(self, content: bytes, media_type: str) -> bytes:
        """A body, without any content coding."""
        if not content:
            return content
        text = _read(content)
        if media_type == h.SSE:
            text = self._stream(text)
        elif media_type == "application/x-www-form-urlencoded":
            text = self._query(text)
        else:
            text = self._document(text, 0)
        return text.encode("utf-8", "surrogateescape")

    def session(self, session_id: str) -> str:
        """A session id."""
        return self._secret(session_id, Kind.SESSION)

    def anything(self, value: Any) -> Any:
        """Every text in a tree of lists and dictionaries, keys left alone."""
        match value:
            case str():
                return self.text(value)
            case bytes():
                return self.text(_read(value)).encode("utf-8", "surrogateescape")
            case dict():
                return {key: self.anything(item) for key, item in value.items()}
            case list():
                return [self.anything(item) for item in value]
            case tuple():
                return tuple(self.anything(item) for item in value)
            case _:
                return value

    def text(self, text: str) -> str:
        """Any text: what looks like a secret in it, and what is known as one, also where it is encoded."""
        return self._text(text, 0)

    # How they are walked

    def _text(self, text: str, depth: int, *, looked_at: bool = False) -> str:
        if len(text) < 4 or depth > DEPTH:
            return text if self._learning else self.vault.replace(text)
        if self._learning:
            try:
                for secret in self._named.matches(text) if looked_at else self._looked_at(text):
                    self._learn(secret)
            except TimeoutError:
                self._not_searched.add(text)
        elif text in self._not_searched:
            return self._cut_out()
        text = members.MEMBER.sub(lambda match: self._member(match, depth), text)
        if "%" in text:
            text = _TOKEN.sub(lambda match: self._percent(match[0], depth), text)
        text = _BASE64.sub(lambda match: self._base64(match[0], depth), text)
        return text if self._learning else self._replaced(text)

    def _looked_at(self, text: str) -> Iterator[str]:
        yield from patterns.secrets_in(text)
        yield from self._named.matches(text)

    def _replaced(self, text: str) -> str:
        try:
            return self._named.replaced(self.vault.replace(text), self._placeholder)
        except TimeoutError:
            return self._cut_out()

    def _cut_out(self) -> str:
        self.cut_out += 1
        return CUT_OUT

    def _placeholder(self, secret: str) -> str:
        return secret if PLACEHOLDER.search(secret) else self.vault.placeholder(secret)

    def _learn(self, secret: str, kind: Kind = Kind.SECRET) -> None:
        if self._learning:
            self.vault.learn(secret, kind)

    def _secret(self, value: str, kind: Kind = Kind.SECRET) -> str:
        """A value that is a secret as a whole."""
        self._learn(value, kind)
        return value if self._learning else self.vault.placeholder(value, kind)

    def _header(self, name: str, value: str) -> str:
        if name == h.SESSION_ID:
            return self._secret(value, Kind.SESSION)
        if name in ("cookie", "set-cookie"):
            return self._cookies(name, value)
        word = self._named.headers.get(name)
        if word is not None:
            word.found(value)
        if word is not None or name in h.CREDENTIALS or patterns.is_secret_name(name):
            return self._credential(value)
        if name not in patterns.PLAIN_HEADERS and patterns.OPAQUE.fullmatch(value):
            return self._secret(value)
        if name in ("location", "content-location", "referer", "link", "origin") and "?" in value:
            before, _, query = value.partition("?")
            return f"{self.text(before)}?{self._query(query)}"
        return self.text(value)

    def _credential(self, value: str) -> str:
        found = _SCHEME.fullmatch(value.strip())
        if not found:
            return self._secret(value)
        scheme, space, rest = found.groups()
        if scheme.lower() == "basic":
            user, _, password = _decoded(rest).partition(":")
            for part in (password, user if len(user) > 16 else ""):
                self._learn(part)
        return scheme + space + self._secret(rest)

    def _cookies(self, name: str, value: str) -> str:
        cookies, attributes = value.split(";"), list[str]()
        if name == "set-cookie":
            cookies, attributes = cookies[:1], cookies[1:]
        redacted = []
        for cookie in cookies:
            key, mark, secret = cookie.partition("=")
            bare = secret.strip().strip('"')
            if bare:
                self._learn(unquote(bare))
            redacted.append(self._key(key) + mark + self._secret(secret) if mark else self._secret(cookie))
        return ";".join((*redacted, *attributes))

    def _query(self, query: str) -> str:
        if not query:
            return query
        pieces = []
        for piece in query.split("&"):
            name, mark, value = piece.partition("=")
            plain = unquote_plus(value)
            if mark and value and (patterns.is_secret_name(unquote_plus(name)) or patterns.OPAQUE.fullmatch(plain)):
                pieces.append(f"{self._key(name)}={quote_plus(self._secret(plain))}" if not self._learning else piece)
                self._learn(plain)
            else:
                pieces.append(self.text(piece))
        return "&".join(pieces)

    def _document(self, text: str, depth: int, *, looked_at: bool = False) -> str:
        """A text that may be JSON, and is otherwise any text. `looked_at`: shapes of secrets were looked for in it."""
        if text.startswith(_BOM):
            return _BOM + self._document(text.removeprefix(_BOM), depth, looked_at=looked_at)
        if depth > DEPTH or text.lstrip()[:1] not in ("{", "["):
            return self._text(text, depth, looked_at=looked_at)
        try:
            document = from_json(text.encode("utf-8"), allow_inf_nan=True)
        except ValueError:
            return self._text(text, depth, looked_at=looked_at)
        if self._learning:
            # All at once, which is ten times as fast as one by one; the text itself for names and repeated members.
            texts = [*members.texts(document)]
            for secret in patterns.secrets_in("\n".join((text, *texts))):
                self._learn(secret)
            self._learn_repeated(text, set(texts))
        redacted = self._json(document, (), self._named.places(document), depth)
        if self._learning:
            return text  # what is replaced while not all is known would be looked up in a table that is made each time
        if redacted == document and text not in self._repeating and self.vault.replace(text) == text:
            return text  # byte by byte as it was
        return dump(redacted).decode()

    def _learn_repeated(self, text: str, read: set[str]) -> None:
        """Learn what stands under the name of a secret and was not read, for the same name comes once more."""
        for match in members.MEMBER.finditer(text):
            if members.is_secret(match) and (said := members.said(match)) not in read:
                self._secret_member(match["name"], said, (), set(), 0)
                self._repeating.add(text)

    def _member(self, match: re.Match[str], depth: int) -> str:
        """A text or a number in what is no JSON as a whole, with the name before it."""
        if members.is_secret(match):
            said = members.said(match)
            shown = self._secret_member(match["name"], said, (), set(), depth)
        elif "\\" in (match["said"] or ""):  # it may be JSON within JSON
            said = members.said(match)
            shown = self._document(said, depth + 1)
        else:
            return match[0]
        return match[0] if self._learning or shown == said else members.instead(match, shown)

    def _json(self, value: Any, place: tuple[str | int, ...], places: set[tuple[str | int, ...]], depth: int) -> Any:
        if len(place) > NESTING:
            return CUT
        if place in places and not isinstance(value, (dict, list)):
            return value if value is None or isinstance(value, bool) else self._leaf(value)
        match value:
            case str():
                return self._document(value, depth + 1, looked_at=True)
            case dict():
                schema = bool(place) and place[-1] == "properties"
                return {
                    self._key(key): self._secret_member(key, item, (*place, key), places, depth)
                    if (patterns.is_secret_name(key) and not schema) or place in places
                    else self._json(item, (*place, key), places, depth)
                    for key, item in value.items()
                }
            case list():
                inside = place in places
                return [
                    self._secret_member("", item, (*place, number), places, depth)
                    if inside
                    else self._json(item, (*place, number), places, depth)
                    for number, item in enumerate(value)
                ]
            case int() | float() if len(str(value)) >= WORTH_SEEKING and str(value) in self.vault:
                return value if self._learning else self.vault.placeholder(str(value))
            case _:
                return value

    def _secret_member(
        self, name: str, value: Any, place: tuple[str | int, ...], places: set[tuple[str | int, ...]], depth: int
    ) -> Any:
        """What stands under a name that announces a secret, or within what a user named."""
        match value:
            case str():
                kind = Kind.SESSION if re.search(r"(?i)session[-_]?id$", name) else Kind.SECRET
                found = _SCHEME.fullmatch(value)
                return self._credential(value) if found and kind is Kind.SECRET else self._secret(value, kind)
            case bool() | None:
                return value
            case int() | float():
                return self._leaf(value) if not name or patterns.NUMERIC_SECRET_NAME.search(name) else value
            case dict() if _SCHEMA_WORDS & value.keys() and name:
                return self._json(value, place, places, depth)
            case dict() if len(place) <= NESTING:
                return {
                    self._key(key): self._secret_member(key, item, (*place, key), places, depth)
                    for key, item in value.items()
                }
            case list() if len(place) <= NESTING:
                return [
                    self._secret_member(name, item, (*place, number), places, depth)
                    for number, item in enumerate(value)
                ]
            case _:
                return CUT

    def _leaf(self, value: Any) -> Any:
        secret = self._secret(str(value))
        return value if self._learning and not isinstance(value, str) else secret

    def _key(self, key: str) -> str:
        return key if self._learning else self._replaced(key)

    def _stream(self, text: str) -> str:
        """An event stream: the data of each event as a document; the other fields as text."""
        pieces = [_BOM] if text.startswith(_BOM) else []
        data: list[tuple[int, str]] = []
        """Where the lines of data of one event stand, and what they say."""

        def flush() -> None:
            joined = "\n".join(said for _, said in data)
            if data and (redacted := self._document(joined, 0)) != joined and not self._learning:
                end = _LINE_END.search(pieces[data[0][0]])
                for at, _ in data:  # events know no order of their fields; data that is not adjacent is joined
                    pieces[at] = ""
                pieces[data[0][0]] = "".join(f"data: {line}{end[0] if end else ''}" for line in redacted.split("\n"))
            data.clear()

        for match in _LINE.finditer(text.removeprefix(_BOM)):
            line = match[0].rstrip("\r\n")
            if line == "data" or line.startswith("data:"):
                data.append((len(pieces), line[5:].removeprefix(" ")))
                pieces.append(match[0])
            elif not line:
                flush()
                pieces.append(match[0])
            else:
                pieces.append(self.text(line) + match[0][len(line) :])
        flush()
        return "".join(pieces)

    def _percent(self, token: str, depth: int) -> str:
        if not _CODE.search(token):
            return token
        plain = unquote(token, errors="surrogateescape")
        redacted = self._document(plain, depth + 1)
        return token if redacted == plain else quote(redacted, safe="/:@", errors="surrogateescape")

    def _base64(self, token: str, depth: int) -> str:
        plain = _decoded(token)
        if not plain:
            return token
        redacted = self._document(plain, depth + 1)
        if redacted == plain:
            return token
        raw = redacted.encode("utf-8", "surrogateescape")
        encoded = base64.urlsafe_b64encode(raw) if "-" in token or "_" in token else base64.b64encode(raw)
        return encoded.decode() if "=" in token else encoded.decode().rstrip("=")


def _decoded(token: str) -> str:
    """What a token in base64 says, if that is text; empty otherwise."""
    bare = token.strip().rstrip("=").replace("-", "+").replace("_", "/")
    if len(bare) % 4 == 1:
        return ""
    try:
        text = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return text if text.isprintable() or not any(ord(c) < 32 and c not in "\t\r\n" for c in text) else ""


def _read(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
