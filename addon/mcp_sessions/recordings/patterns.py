"""What a secret looks like: names that announce one, shapes that well-known tokens have, values that look random."""

from __future__ import annotations

import re
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
    }
)

_EDGES = " \t\r\n\"'=:,;"
_SHORTEST = 8


def is_secret_name(name: str) -> bool:
    """Whether a value under this name is a secret."""
    return bool(SECRET_NAME.search(name[:256]) and not NO_SECRET_NAME.search(name[:256]))


def secrets_in(text: str) -> list[str]:
    """What in a text looks like a secret by itself, or by the words before it."""
    found: list[str] = []
    for shape in _shapes():
        for match in shape.finditer(text):
            # A group is the secret where it is the most of the match, and only a part of it, such as `ghp`, otherwise.
            longest = max((group for group in match.groups() if group), key=len, default="")
            found.append(longest if shape in _OWN or len(longest) >= _SHORTEST else match[0].strip(_EDGES))
    return [secret for secret in found if secret]


_OWN = (_ASSIGNED, _BEARER, _USERINFO)


@cache
def _shapes() -> tuple[re.Pattern[str], ...]:
    # Here and not above: it brings an HTTP client along, and nobody who only watches traffic is to wait for that.
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
    from detect_secrets.plugins.base import RegexBasedDetector

    shapes = [*_OWN, *(re.compile(pattern) for pattern in _KNOWN)]
    for name, detector in sorted(get_mapping_from_secret_type_to_class().items()):
        if issubclass(detector, RegexBasedDetector) and name not in _LEFT_OUT:
            shapes += (pattern for pattern in detector().denylist if isinstance(pattern, re.Pattern))
    return tuple(shapes)
