"""What several operations share: new ids, ARNs, names."""

from __future__ import annotations

import secrets
from typing import Any

from authz.core.model import EntityUid
from authz.emulator.errors import ValidationError
from authz.emulator.services import EmulatorSettings
from authz.emulator.state_view import NAME

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
EVERYTHING = 2**62
"""As the limit of a list: all of it."""


def new_id() -> str:
    """An id in the service's form: 22 characters of base 58."""
    number, digits = secrets.randbelow(58**22), list[str]()
    for _ in range(22):
        number, digit = divmod(number, 58)
        digits.append(_ALPHABET[digit])
    return "".join(digits)


def store_arn(settings: EmulatorSettings, store_id: str) -> str:
    """Its region is empty, unlike an alias's."""
    return f"arn:aws:verifiedpermissions::{settings.account}:policy-store/{store_id}"


def alias_arn(settings: EmulatorSettings, name: str) -> str:
    """`name` with `policy-store-alias/`."""
    return f"arn:aws:verifiedpermissions:{settings.region}:{settings.account}:{name}"


def identifier(uid: EntityUid) -> dict[str, str]:
    """`EntityIdentifier`."""
    return {"entityType": uid.type, "entityId": uid.id}


def action_identifier(uid: EntityUid) -> dict[str, str]:
    """`ActionIdentifier`."""
    return {"actionType": uid.type, "actionId": uid.id}


def uid_of(given: dict[str, str] | None) -> EntityUid | None:
    """Of an `EntityIdentifier`."""
    return EntityUid(given["entityType"], given["entityId"]) if given is not None else None


def told(**members: Any) -> dict[str, Any]:
    """Members of an answer; what is None is left out."""
    return {name: value for name, value in members.items() if value is not None}


def checked_name(name: str | None) -> str | None:
    """A policy's or template's name.

    Raises:
        ValidationError: it does not begin with `name/`, or is nothing else.
    """
    if name is not None and len(name.removeprefix(NAME)) in {0, len(name)}:
        raise ValidationError([("/name", f"Invalid format. A name begins with {NAME}")])
    return name
