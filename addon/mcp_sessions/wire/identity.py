"""Who a request says it comes from: its credentials, less what changes from one request of the same user to the next.

What is left out proves nothing by itself: a proof that belongs to a token, a token against forged requests, a cookie by
which a balancer finds its server again, the signature in an `Authorization` that names its key beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .headers import CREDENTIALS, HeaderMap

OF_ONE_REQUEST = frozenset({"dpop", "x-csrf-token", "set-cookie"})
"""Headers with a secret that is made for one request, or that says nothing of the user."""

WHO = CREDENTIALS - OF_ONE_REQUEST - {"cookie"}
"""Headers that say who sends a request; cookies are looked at one by one."""

BALANCERS = (
    r"AWSALB(APP|TG)?(CORS)?(-\d)?|AWSELB(CORS)?",  # Elastic Load Balancing
    r"GCLB|GAESA",  # Google Cloud
    r"ARRAffinity(SameSite)?|ApplicationGatewayAffinity(CORS)?|ASLBSA(CORS)?",  # Azure
    r"__cf_bm|__cflb|__cfruid|__cfseq|_cfuvid|cf_clearance|__cfwaitingroom",  # Cloudflare
    r"ak_bmsc|bm_(sv|sz|mi|so|lso)|_abck|akacd_.*|AKA_.*",  # Akamai
    r"visid_incap_.*|incap_ses_.*|nlbi_.*",  # Imperva
    r"BIGipServer.*|(?-i:TS[0-9a-f]{6,11})",  # F5
    r"NSC_.*|citrix_ns_id.*",  # NetScaler
    r"BNI_.*|barra_counter_session",  # Barracuda
    r"SERVERID|SRV|INGRESSCOOKIE|route|ROUTEID|BALANCEID|srv_id",  # HAProxy, nginx, Apache
    r"heroku-session-affinity",
)
"""Cookies by which a balancer, or who guards a site, knows a visitor again: names, by who gives them."""

FORGERY = (
    r"(__Host-|__Secure-)?_?x?[cx]srf.*",
    r"(__Host-|__Secure-)?XSRF-TOKEN",
    r"_gorilla_csrf|__RequestVerificationToken.*|\.AspNetCore\.Antiforgery\..*",
)
"""Cookies against forged requests."""

SIGNED = {
    "aws4-hmac-sha256": r"Credential=([^/,\s]+)",
    "aws4-ecdsa-p256-sha256": r"Credential=([^/,\s]+)",
    "digest": r'username="([^"]*)"',
    "oauth": r'oauth_(?:consumer_key|token)="([^"]*)"',
    "hawk": r'id="([^"]*)"',
    "signature": r'keyId="([^"]*)"',
}
"""Schemes of `Authorization` that sign each request, and the part that names the user."""

COOKIES_LIMIT = 8 * 1024
"""Characters of cookies that are looked at one by one; more than that counts as it is."""

_PASSING = re.compile("|".join((*BALANCERS, *FORGERY)), re.I)
_SIGNED = {scheme: re.compile(pattern, re.I) for scheme, pattern in SIGNED.items()}


def credentials(headers: HeaderMap) -> Iterator[tuple[str, str]]:
    """What in these headers says who sends them: names and values, in the same order for the same user.

    Cookies count only where there is no `Authorization`, which says it better, and stays the same for longer.
    """
    for name in sorted(WHO.intersection(headers)):
        yield name, _lasting(headers[name]) if name == "authorization" else headers[name]
    if "cookie" in headers and "authorization" not in headers:
        yield from sorted(("cookie", pair) for pair in _lasting_cookies(headers["cookie"]))


def _lasting(authorization: str) -> str:
    scheme, _, rest = authorization.partition(" ")
    pattern = _SIGNED.get(scheme.lower())
    named = pattern.findall(rest) if pattern is not None else None
    return f"{scheme} {' '.join(named)}" if named else authorization


def _lasting_cookies(cookie: str) -> set[str]:
    if len(cookie) > COOKIES_LIMIT:
        return {cookie}
    pairs = (pair.strip() for pair in re.split("[;,]", cookie))  # repeated fields were joined with commas
    return {pair for pair in pairs if pair and not _PASSING.fullmatch(pair.partition("=")[0].strip())}
