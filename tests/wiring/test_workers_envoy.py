"""Envoy before several workers: over gRPC one connection is one worker, and what spreads it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.proxies.authz_serve import AuthzServe, Issuer
from tests.proxies.harness import Folder
from tests.proxies.sites import Site, site

pytestmark = pytest.mark.proxy

ANCHOR = "        explicit_http_config:\n"
BY_REQUESTS = {ANCHOR: f"        common_http_protocol_options: {{max_requests_per_connection: 10}}\n{ANCHOR}"}
TRIES = 5000


class Workers(AuthzServe):
    """Two of them, where all can listen."""

    def configuration(self) -> dict[str, Any]:
        configuration = super().configuration()
        configuration["listeners"]["grpc"] = f"127.0.0.1:{self.grpc}"
        return configuration

    def command(self) -> Sequence[str]:
        return [*super().command(), "--workers", "2"]

    async def ready(self) -> bool:
        return await super().ready() and sum('"authz.worker","event":"serving"' in line for line in self.lines()) == 2

    def lines(self) -> list[str]:
        return self.log.splitlines()

    def answered(self) -> set[str]:
        """Which workers have decided, by the part of a decision's id that each has for itself."""
        lines = [json.loads(line) for line in self.lines()]
        return {line["decision_id"].partition("-")[0] for line in lines if line["event"] == "decision"}


async def statuses(here: Site, authz: Workers, count: int, *, until_both: bool) -> set[int]:
    found = set()
    headers = (("Authorization", f"Bearer {authz.issuer.token('alice', 'analyst')}"),)
    for number in range(count):
        found.add((await here.send("/documents/handbook", headers=headers)).status)
        if until_both and number % 20 == 19 and len(authz.answered()) == 2:
            break
    return found


async def test_over_grpc_one_connection_of_envoy_is_one_worker():
    with Folder() as folder:
        authz = Workers(folder, Issuer())
        async with authz, site("envoy-grpc-tcp", authz.grpc) as here:
            assert await statuses(here, authz, 60, until_both=False) == {200}
            await authz.stop()  # writes out the records
            assert len(authz.answered()) == 1


@pytest.mark.parametrize(
    ("limits", "changes"), [({"connection_age": "50ms"}, None), ({}, BY_REQUESTS)], ids=["authz", "envoy"]
)
async def test_a_limit_on_a_connection_spreads_it_and_no_request_is_lost(
    limits: dict[str, str], changes: Mapping[str, str] | None
):
    with Folder() as folder:
        authz = Workers(folder, Issuer(), {"limits": limits})
        async with authz, site("envoy-grpc-tcp", authz.grpc, changes) as here:
            assert await statuses(here, authz, TRIES, until_both=True) == {200}
            await authz.stop()
            assert len(authz.answered()) == 2
