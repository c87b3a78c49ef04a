"""A policy store's content: policies, templates, links, and what they are written for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from authz.core.identity_source import StoreIdentitySource
from authz.core.values import EntityUid


class Effect(StrEnum):
    """A policy's effect."""

    PERMIT = "permit"
    FORBID = "forbid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One static policy or one template, as its store keeps it."""

    id: str
    text: str
    effect: Effect
    annotations: Mapping[str, str] = field(default_factory=dict)
    file: str = ""
    line: int | None = None
    name: str = ""
    """What people call it, where the store's ids are not theirs to choose (Verified Permissions: without `name/`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateLink:
    """A template with its slots (`?principal`, `?resource`) filled."""

    id: str
    template_id: str
    values: Mapping[str, EntityUid]
    file: str = ""
    line: int | None = None
    name: str = ""
    """As of a `Policy`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySnapshot:
    """A policy store's content at one moment; replaced whole, never edited."""

    version: str
    """Digest of the content."""
    policies: tuple[Policy, ...]
    templates: tuple[Policy, ...] = ()
    links: tuple[TemplateLink, ...] = ()
    schema: str | None = None
    """Cedar or JSON syntax, as stored."""
    schema_file: str = ""
    entities: str = "[]"
    """Cedar JSON; the store's own entities."""
    entities_file: str = ""
    keeps_misfits: bool = False
    """Does the store have policies decide that its schema does not allow? (Verified Permissions, whose schema may
    change under them, and without STRICT.)"""
    identity_source: StoreIdentitySource | None = None
    """Whose tokens the store's policies are written for, where the store says so."""
    origin: str = ""
    loaded_at: float = 0.0
    """Seconds since the epoch."""
