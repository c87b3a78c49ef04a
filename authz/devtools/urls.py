"""URLs as a person writes them, cut into what a proxy tells of a request."""

from __future__ import annotations

import re

_AUTHORITY = re.compile(r"[^/?#]*")


def split_url(url: str) -> tuple[str, str, str]:
    """Scheme, authority and request target, cut and otherwise left as they are; a path is asked of `localhost`."""
    # Never urlsplit: it takes `//admin/x` for a host, and drops control characters.
    scheme, _, rest = ("http", "", f"localhost{url}") if url.startswith("/") else url.partition("://")
    authority = _AUTHORITY.match(rest)
    name = authority[0] if authority is not None else ""
    target = rest[len(name) :]
    return scheme, name, target if target.startswith("/") else f"/{target}"
