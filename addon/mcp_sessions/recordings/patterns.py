"""What a secret looks like: names that announce one, shapes that well-known tokens have, values that look random."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache

SECRET_NAME = re.compile(
    r"(?i)pass(?:word|wd|phrase|code)|^pwd$|secret|credential|authori[sz]ation$|^auth$|"
    r"(?:api|app|access|private|secret|signing|encryption|subscription|account|master|auth)[-_ ]?key|^key$|"
    r"(?:^|[-_.])(?:sig|signature|otp|pin|jwt|bearer|cookie)$|"
    r"token$|session[-_]?id$|session$|^code$|^code_verifier$|^assertion$"
)
"""Names of headers, cookies, query parameters and JSON members whose value is a secret."""

NO_SECRET_NAME = re.compile(
    r"(?i)^progress_?token$|(?:max|num|total|prompt|completion|input|output|page|cursor|next|sync)[-_]?tokens?$|"
    r"tokens$|token_?type$|^www-authenticate$|^session$"
)
"""Names among them that stand for something else: `progressToken`, `maxTokens`, `nextPageToken`."""

NUMERIC_SECRET_NAME = re.compile(r"(?i)pass(?:word|wd|phrase|code)|^pwd$|^pin$|^otp$|secret")
"""Names whose value is a secret even if it is a number."""

OPAQUE = re.compile(r"(?=[^0-9]*[0-9])(?=[^A-Za-z]*[A-Za-z])[A-Za-z0-9_~.+/=-]{16,}")
"""A value that no person has chosen: a query's or a path's key. Letters and digits, and long."""

PLAIN_HEADERS = frozenset(
    {
        "accept",
        "accept-encoding",
        "accept-language",
        "accept-ranges",
        "access-control-allow-headers",
        "access-control-allow-methods",
        "access-control-allow-origin",
        "access-control-expose-headers",
        "age",
        "allow",
        "alt-svc",
        "cache-control",
        "connection",
        "content-encoding",
        "content-language",
        "content-length",
        "content-type",
        "date",
        "etag",
        "expect",
        "expires",
        "forwarded",
        "host",
        "keep-alive",
        "last-event-id",
        "last-modified",
        "location",
        "mcp-method",
        "mcp-name",
        "mcp-protocol-version",
        "origin",
        "pragma",
        "referer",
        "retry-after",
        "sec-fetch-dest",
        "sec-fetch-mode",
        "sec-fetch-site",
        "server",
        "strict-transport-security",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "vary",
        "via",
        "www-authenticate",
        "x-content-type-options",
        "x-frame-options",
        "x-powered-by",
    }
)
"""Headers whose value is no secret by its looks; what is known to be one is replaced in them all the same."""

_ASSIGNED = re.compile(
    r"""(?ix) (?:password|passwd|passphrase|secret|api[-_]?key|access[-_]?key|private[-_]?key|auth[-_]?token
    |access[-_]?token|refresh[-_]?token|id[-_]?token|client[-_]?secret|secret[-_]?(?:access[-_]?)?key|bearer[-_]?token)
    \\? ["']? \s{0,3} [=:] \s{0,3} \\? ["']? ([^\s"'&,;<>\\{}\[\]]{4,4096})"""
)
_BEARER = re.compile(r"(?i)\b(?:bearer|basic|token)\s{1,3}([A-Za-z0-9._~+/=-]{12,4096})")
_USERINFO = re.compile(r"(?i)\b[a-z][a-z0-9+.-]{1,20}://[^\s/@:\"'<>]{0,256}:([^\s/@\"'<>]{1,1024})@")
_KNOWN = (
    # What the library does not know (yet).
    r"\b(?:sk|pk|rk)-[A-Za-z0-9_-]{20,200}",
    r"\bgithub_pat_[A-Za-z0-9_]{22,255}",
    r"\bgl(?:pat|dt|ft|rt|cbt|soat)-[A-Za-z0-9_-]{20,64}",
    r"\bpypi-[A-Za-z0-9_-]{50,400}",
    r"\bAIza[A-Za-z0-9_-]{35}",
    r"\bya29\.[A-Za-z0-9_-]{20,400}",
    r"\bhf_[A-Za-z0-9]{30,60}",
    r"\bxapp-[A-Za-z0-9-]{20,200}",
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[^-]{1,16384}-----END [A-Z ]{0,40}PRIVATE KEY-----",
)
_LEFT_OUT = frozenset(
    {
        "Azure Storage Account access key",  # any long base64
        "Basic Auth Credentials",  # `_USERINFO`, without a limit
        # A key by the name before it, which `_ASSIGNED` finds in a fifth of the time.
        "Cloudant Credentials",
        "IBM COS HMAC Credentials",
        "IBM Cloud IAM Key",
        "SoftLayer Credentials",
        # Their time grows with the square of the text, or nearly: `_JWT`, `_AWS` and `_ARTIFACTORY` find the same.
        "JSON Web Token",
        "AWS Access Key",
        "Artifactory Credentials",
    }
)

_JWT = re.compile(r"eyJ(?:[A-Za-z0-9_=-]++(\.[A-Za-z0-9_=-]++\.?[A-Za-z0-9_.+/=-]*+)?+)?+")
"""A web token, if the group is there. What begins like one is passed over in one go, not from each `eyJ` in it anew."""

_AWS = re.compile(r"\b(?=([0-9a-zA-Z/+]{40})\b)")
"""An AWS key, if words before it say so."""
_AWS_ID = r"\b(?:A3T[A-Z0-9]|ABIA|ACCA|AKIA|ASIA)[0-9A-Z]{16}\b"
_AWS_WORDS = ("key", "pw", "pass", "token")
_AWS_BEFORE = 51
"""Characters before a key within which the words stand."""

_ARTIFACTORY = re.compile(
    r"(?:[\s=:\"]|^)(?:(AP[\dABCDEF][a-zA-Z0-9]{8,200})(?=[\s\"]|$)|(AKC[a-zA-Z0-9]{10,200})(?=[\s\"]|$))"
)
"""A key of Artifactory; one that begins with `AP`, if words before it say so."""
_ARTIFACTORY_WORDS = ("artif", "jfrog", "buildkit")
_ARTIFACTORY_BEFORE = 212

_EDGES = " \t\r\n\"'=:,;"
_SHORTEST = 8

WINDOW = 64 * 1024
"""Characters that one search looks through: while it lasts, everything else in the process waits."""
_BEYOND = 24 * 1024
"""Characters beyond its window in which a match may end: more than any shape with a limit can have."""


def is_secret_name(name: str) -> bool:
    """Whether a value under this name is a secret."""
    return bool(SECRET_NAME.search(name[:256]) and not NO_SECRET_NAME.search(name[:256]))


def secrets_in(text: str) -> list[str]:
    """What in a text looks like a secret by itself, or by the words before it. Takes time in proportion to the text."""
    found: list[str] = []
    for shape in shapes():
        for match in matches(shape, text):
            # A group is the secret where it is the most of the match, and only a part of it, such as `ghp`, otherwise.
            longest = max((group for group in match.groups() if group), key=len, default="")
            if shape is _JWT:
                found.append(match[0] if longest else "")
            elif shape is _AWS:
                found.append(longest if _follows_aws(text, match.start()) else "")
            elif shape is _ARTIFACTORY:
                found.append(longest if match[2] or _follows(text, match.start(1), _ARTIFACTORY_WORDS) else "")
            else:
                found.append(longest if shape in _OWN or len(longest) >= _SHORTEST else match[0].strip(_EDGES))
    return [secret for secret in found if secret]


def matches(shape: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """What `finditer` finds, but looked for in one window after the other."""
    length, at = len(text), 0
    while at < length:
        until, end = at + WINDOW, min(length, at + WINDOW + _BEYOND)
        found = shape.search(text, at, end)
        if found is None or found.start() >= until:
            at = until
            continue
        if found.end() == end < length:  # it may go on beyond what was looked at, or be none at all
            whole = shape.match(text, found.start())
            if whole is None:
                at = found.start() + 1
                continue
            found = whole
        yield found
        at = max(found.end(), found.start() + 1)


def _follows_aws(text: str, at: int) -> bool:
    before = text[max(0, at - _AWS_BEFORE) : at].lower()
    start = before.find("aws")
    return start >= 0 and any(before.find(word, start) >= 0 for word in _AWS_WORDS)


def _follows(text: str, at: int, words: Iterable[str]) -> bool:
    before = text[max(0, at - _ARTIFACTORY_BEFORE) : at].lower()
    return any(word in before for word in words)


_OWN = (_ASSIGNED, _BEARER, _USERINFO)


@cache
def shapes() -> tuple[re.Pattern[str], ...]:
    """All shapes that are looked for. Each is tested to take time in proportion to the text."""
    # Here and not above: it brings an HTTP client along, and nobody who only watches traffic is to wait for that.
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
    from detect_secrets.plugins.base import RegexBasedDetector

    found = [*_OWN, _JWT, _AWS, _ARTIFACTORY, *(re.compile(pattern) for pattern in (*_KNOWN, _AWS_ID))]
    for name, detector in sorted(get_mapping_from_secret_type_to_class().items()):
        if issubclass(detector, RegexBasedDetector) and name not in _LEFT_OUT:
            found += (pattern for pattern in detector().denylist if isinstance(pattern, re.Pattern))
    return tuple(found)
