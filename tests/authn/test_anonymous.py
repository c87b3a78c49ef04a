"""The identity of a caller without a credential."""

from authz.authn.anonymous import anonymous_identity
from authz.core.model import EntityUid


def test_it_is_the_configured_principal_and_nothing_else():
    identity = anonymous_identity(EntityUid("App::User", "anonymous"))
    assert identity.principal == EntityUid("App::User", "anonymous")
    assert (identity.scheme, identity.issuer, identity.subject) == ("anonymous", "", "anonymous")
    assert (identity.claims, identity.token, identity.credential, identity.expires_at) == ({}, None, None, None)
    assert identity.entities.entities == ()
