"""A request must read the same here as to the upstream, and cost no more than it is worth."""

from __future__ import annotations

from urllib.parse import unquote

import cedarpy
import pytest

import authz
from authz.core.errors import Reason, RequestRefused
from authz.core.model import Effect, Entity, EntitySlice, EntityUid, Policy, Query
from authz.core.request import canonical_host, parse_query
from authz.core.routes import header_value
from authz.pdp.ancestry import Reach, World
from authz.pdp.index import PolicyIndex
from authz.pdp.rows import static_row
from authz.pdp.slices import Slices
from tests.wiring.conftest import ROUTES


def test_a_host_of_look_alikes_is_not_folded_into_another_host():
    with pytest.raises(RequestRefused) as caught:
        canonical_host("\N{KELVIN SIGN}ing.example")  # lower case: `king.example`
    assert caught.value.reason is Reason.BAD_HOST


def test_a_parameter_repeated_thousands_of_times_keeps_its_values_in_order():
    assert parse_query("a&" * 4000) == {"a": ("",) * 4000}
    assert parse_query("a=1&b=2&a=3") == {"a": ("1", "3"), "b": ("2",)}


def test_a_principal_with_many_groups_does_not_fill_the_memory_with_handles():
    documents = [EntityUid("Doc", str(number)) for number in range(64)]
    world = World({uid: Entity(uid=uid) for uid in documents}, None, Reach())
    text = "permit(principal, action, resource) when { resource has owner };"
    policy = static_row(Policy(id="p", text=text, effect=Effect.PERMIT), 1)
    slices = Slices(world, PolicyIndex().changed(added=[policy]), handle_bytes=3 * 12_000)
    groups = [EntityUid("Group", str(number)) for number in range(64)]
    user = EntityUid("User", "u")
    given = EntitySlice(entities=(Entity(uid=user, parents=frozenset(groups)), *(Entity(uid=uid) for uid in groups)))

    def handle(document):
        action = EntityUid("Action", "read")
        return slices.prepared(Query(principal=user, action=action, resource=document, entities=(given,))).entities

    first = handle(documents[0])
    assert isinstance(first, cedarpy.Entities)
    assert handle(documents[0]) is first  # still kept, for who comes again
    for document in documents[1:]:
        handle(document)
    assert handle(documents[0]) is not first


@pytest.mark.parametrize("name", ["x_user", "X_User", "X-user_", "x_other"])
async def test_an_identity_header_does_not_come_in_by_an_underscore(app, name):
    # WSGI, CGI and PHP read `X_User` and `X-User` as one; Traefik, Caddy and Envoy pass both on.
    other = ROUTES.replace("name: read", "name: other").replace("/d/", "/o/").replace("x-user", "x-other")
    app.write("routes.yaml", ROUTES + other)
    headers = app.headers(groups=["staff"])
    async with authz.connect(app.config, watch=False, sinks=()) as az:
        found = await az.check(authz.HttpRequest(method="GET", url="https://h/d/1", headers={**headers, name: "root"}))
        assert (found.reason is Reason.BAD_HEADER) == (name != "X-user_")
        fine = await az.check(authz.HttpRequest(method="GET", url="https://h/d/1", headers={**headers, "x_a": "b"}))
        assert isinstance(fine, authz.Allowed)


@pytest.mark.parametrize("value", [" ", "   ", " a", "a  ", " a b "])
def test_a_header_value_of_spaces_can_be_read_back(value):
    assert unquote(header_value(value)) == value
