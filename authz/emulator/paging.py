"""Pages of lists: how many items, and the opaque token for the next.

A token is good for the same list of the same store with the same filter, of this emulator's state; anything else is
refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from authz.emulator.errors import ValidationError
from authz.emulator.services import Services
from authz.emulator.state_view import Page

DEFAULT = 10
_PLACE = 8
_SEAL = 16
_T = TypeVar("_T")


def paged(
    services: Services,
    given: Mapping[str, Any],
    bound: tuple[Any, ...],
    read: Callable[[int, int], Page[_T]],
    default: int = DEFAULT,
) -> tuple[tuple[_T, ...], dict[str, str]]:
    """One page.

    Args:
        services: whose secret seals the token.
        given: with `nextToken` and `maxResults`.
        bound: what the list is of: operation, store, filter; as JSON has it.
        read: (after, limit) → page.
        default: items of a page, where the caller does not say.

    Returns:
        The items, and `nextToken` if there are more.

    Raises:
        ValidationError: the token is not for this list.
    """
    token = given.get("nextToken")
    after = 0 if token is None else _opened(services, bound, token)
    size = given.get("maxResults", default)
    page = read(after, (size + 1) // 2 if services.switches.short_pages else size)
    return page.items, {"nextToken": _sealed(services, bound, page.after)} if page.after is not None else {}


def _sealed(services: Services, bound: tuple[Any, ...], after: int) -> str:
    place = after.to_bytes(_PLACE, "big")
    return base64.urlsafe_b64encode(place + _seal(services, bound, place)).decode()


def _opened(services: Services, bound: tuple[Any, ...], token: str) -> int:
    try:
        data = base64.b64decode(token, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        data = b""
    place = data[:_PLACE]
    if not hmac.compare_digest(data[_PLACE:], _seal(services, bound, place)):
        raise ValidationError([("/nextToken", "Invalid token")])
    return int.from_bytes(place, "big")


def _seal(services: Services, bound: tuple[Any, ...], place: bytes) -> bytes:
    what = json.dumps(bound, sort_keys=True).encode()
    return hmac.digest(services.state.secret, place + what, hashlib.sha256)[:_SEAL]
