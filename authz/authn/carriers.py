"""Where a credential's text stands in a request. Nothing here believes any of it.

A *carrier* names a header, and takes the text out of its values. None: there is no credential of its kind, which is
not the same as a bad one. What could be read in two ways is refused, for an upstream may read it in the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from authz.core.errors import Reason, Unauthenticated


class Carrier(NamedTuple):
    """A header, and how the credential stands in it."""

    header: str
    """Lower case."""
    read: Callable[[tuple[str, ...]], str | None]
    """The credential's text of the header's values, of which there is at least one; None: there is none. Raises
    Unauthenticated where it cannot be read in one way only."""


_SCHEME_END = r"(?![A-Za-z0-9!#$%&'*+.^_`|~-])"
# Names whose origin browsers vouch for (RFC 6265bis, 4.1.3), in any case: servers differ about that.
_PREFIXES = ("__host-", "__secure-", "__http-", "__host-http-")


def header_with_scheme(header: str, scheme: str) -> Carrier:
    """A carrier for `HEADER: SCHEME TOKEN`, such as `Authorization: Bearer …` (RFC 6750, 2.1; RFC 9110, 11.4).

    Another scheme is another's credential. A second field, or another credential joined into one, is
    `credentials_ambiguous`; the scheme without a token is `token_malformed`.
    """
    plain = f"{scheme} "
    size = len(plain)
    lowered = scheme.lower()
    # The scheme is a token, in any case; whatever follows it other than more of a name makes the header ours, so
    # that an odd separator is refused rather than passed on as no credential.
    ours = re.compile(rf"[ \t]*{re.escape(scheme)}{_SCHEME_END}", re.IGNORECASE)
    # Two header lines that a proxy has joined (RFC 9110, section 5.3).
    beside = re.compile(rf",[ \t]*{re.escape(scheme)}[ \t]", re.IGNORECASE)

    def read(values: tuple[str, ...]) -> str | None:
        if len(values) == 1 and values[0].startswith(plain):
            token = values[0][size:].strip(" ")
            if token:
                return token
        if not any(ours.match(value) or beside.search(value) for value in values):
            return None
        if len(values) > 1 or ours.match(values[0]) is None:
            raise _ambiguous(f"expected one header `{header}`")
        given, _, token = values[0].strip(" \t").partition(" ")
        token = token.strip(" ")
        if given.lower() != lowered or not token:
            raise Unauthenticated(Reason.TOKEN_MALFORMED, f"expected `{scheme}`, a space and a token")
        return token

    return Carrier(header, read)


def plain_header(header: str) -> Carrier:
    """A carrier for a header that holds the credential alone. An empty one counts as absent.

    A second field, or two that a proxy joined with a comma (RFC 9110, 5.3), is `credentials_ambiguous`.
    """

    def read(values: tuple[str, ...]) -> str | None:
        if len(values) > 1 or "," in values[0]:
            raise _ambiguous(f"expected one header `{header}` with one value")
        return values[0].strip(" \t") or None

    return Carrier(header, read)


def cookie(name: str) -> Carrier:
    """A carrier for a cookie (RFC 6265, 4.2). Its name counts in upper and lower case; an empty value is absence.

    Pairs are split at `;` and at `,`, since Envoy (HTTP/1) and HAProxy join Cookie fields with a comma. Two
    different values are `credentials_ambiguous`. So is a cookie with a prefix such as `__Host-` behind a comma:
    browsers let other hosts of the site set a cookie whose *value* is `x,__Host-…`, and never send two fields.
    """
    # Spaces and tabs only: to take U+00A0 or U+2000 for space, as `str.strip` does, would also undo a prefix.
    pair = re.compile(rf"(?:\A|([;,]))[ \t]*{re.escape(name)}[ \t]*=([^;,]*)")
    prefixed = name.lower().startswith(_PREFIXES)

    def read(values: tuple[str, ...]) -> str | None:
        found: str | None = None
        for field in values:
            if name not in field:
                continue
            for match in pair.finditer(field):
                value = _unquoted(match[2].strip(" \t"))
                if not value:
                    continue
                if prefixed and match[1] == ",":
                    raise _ambiguous(f"the cookie `{name}` stands behind a comma, where it may be another's value")
                if found is not None and found != value:
                    raise _ambiguous(f"the cookie `{name}` was sent with two values")
                found = value
        return found

    return Carrier("cookie", read)


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value


def _ambiguous(detail: str) -> Unauthenticated:
    return Unauthenticated(Reason.CREDENTIALS_AMBIGUOUS, detail)


BEARER = header_with_scheme("authorization", "Bearer")
"""`Authorization: Bearer …`."""
