"""Client tokens: the same call again gives the same result, for eight hours.

Source: API reference, `CreatePolicy`, `clientToken`; and the three other operations that have one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from authz.emulator.errors import Conflict
from authz.emulator.services import Services

KEPT = 8 * 3600.0
"""Seconds."""


def replay(services: Services, operation: str, given: Mapping[str, Any]) -> dict[str, Any] | None:
    """The answer that this call had before; None: it is a new one.

    Raises:
        Conflict: the token was used with other parameters.
    """
    token = given.get("clientToken")
    if token is None:
        return None
    found = services.state.client_token(operation, token, services.clock.now())
    if found is None:
        return None
    digest, answer = found
    if digest != _digest(given):
        raise Conflict("The client token was used with other parameters")
    kept: dict[str, Any] = json.loads(answer)
    return kept


def remember(services: Services, operation: str, given: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
    """Keeps the answer. Within the transaction that makes what it tells of."""
    token = given.get("clientToken")
    if token is not None:
        now = services.clock.now()
        services.state.put_client_token(operation, token, _digest(given), json.dumps(answer), now, now + KEPT)


def _digest(given: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in given.items() if name != "clientToken"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
