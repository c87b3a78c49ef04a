"""The identity of a caller without a credential, on routes that name an anonymous principal."""

from __future__ import annotations

from authz.core.model import EntityUid, Identity


def anonymous_identity(principal: EntityUid) -> Identity:
    """The identity for a configured principal, e.g. `User::"anonymous"`. It is decided like any other.

    It brings no entity of its own: parents and attributes are those that the policy store gives it.
    """
    return Identity(scheme="anonymous", issuer="", subject=principal.id, principal=principal)
