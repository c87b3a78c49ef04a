"""What the emulator keeps: frozen records. Times are ISO 8601 text with microseconds and `Z`, as on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from authz.core.model import EntityUid


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRecord:
    """A policy store."""

    id: str
    created: str
    updated: str
    mode: str
    """`OFF` or `STRICT`."""
    description: str | None = None
    deletion_protection: str = "DISABLED"
    encryption: Mapping[str, Any] = field(default_factory=lambda: {"default": {}})
    """`EncryptionState`."""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasRecord:
    """A policy store's alias."""

    name: str
    """With `policy-store-alias/`."""
    store_id: str
    created: str
    deleted_at: float | None = None
    """Seconds since the epoch of its soft deletion; None: it is active."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaRecord:
    """A policy store's schema."""

    store_id: str
    text: str
    """JSON, as it was put."""
    namespaces: tuple[str, ...]
    created: str
    updated: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateRecord:
    """A policy template."""

    store_id: str
    id: str
    statement: str
    """As it was written."""
    slots: tuple[str, ...]
    """Of `principal` and `resource`, those that have one, in this order."""
    effect: str
    """`Permit` or `Forbid`."""
    created: str
    updated: str
    actions: tuple[EntityUid, ...] = ()
    principal: EntityUid | None = None
    """Named by its scope beside no slot."""
    resource: EntityUid | None = None
    description: str | None = None
    name: str | None = None
    """With `name/`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRecord:
    """A policy: static, or a template's link."""

    store_id: str
    id: str
    type: str
    """`STATIC` or `TEMPLATE_LINKED`."""
    statement: str
    """As it was written; of a link: its template's."""
    effect: str
    """`Permit` or `Forbid`."""
    created: str
    updated: str
    actions: tuple[EntityUid, ...] = ()
    """That `action ==` or `action in` names."""
    principal: EntityUid | None = None
    """The one entity that the scope names; of a link: its value for `?principal`, if that is a slot."""
    resource: EntityUid | None = None
    """As `principal`."""
    template_id: str | None = None
    slots: tuple[str, ...] = ()
    """Of a link: the slots it fills."""
    description: str | None = None
    name: str | None = None
    """With `name/`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentitySourceRecord:
    """An identity source."""

    store_id: str
    id: str
    principal_type: str
    """`principalEntityType`, the default filled in."""
    configuration: Mapping[str, Any]
    """`ConfigurationDetail`, as Get answers it: with `issuer` and `clientIds` of a Cognito pool."""
    created: str
    updated: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What changed in a store after a revision."""

    revision: int
    """To be asked with next."""
    changed: tuple[PolicyRecord, ...]
    """Policies that are new or were changed, and the links of templates that were."""
    deleted: tuple[str, ...]
    """Ids of policies. Not told from revision 0 on, when everything is new."""
    templates: tuple[TemplateRecord, ...]
    """All that there are now."""
    schema: str | None
    """As it is now."""
