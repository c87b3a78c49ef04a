"""One policy store, asked on the same token in both ways: here, and through `IsAuthorizedWithToken`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from authz.authn.jwt import TokenVerifier
from authz.config.load import load_config
from authz.core.errors import Unauthenticated, Unavailable
from authz.core.model import EntityUid, Identity, Query
from authz.core.ports import DecisionPoint
from authz.pdp.avp import AvpDecisionPoint, AvpDecisionSettings
from authz.pdp.avp_calls import AvpCalls
from authz.pdp.cedar import CedarDecisionPoint, CedarSettings
from authz.pdp.compiled import compile_snapshot
from authz.stores.avp import AvpStore
from authz.stores.avp_settings import ReplicaSettings
from authz.wiring.issuers import plan_issuers
from tests.authn.issuing import jwk, signed, static
from tests.emulator.running import Emulator
from tests.parity.store import DOC, GROUP, SCHEMA, USER, Source, policies

FIELDS = {"access": "accessToken", "id": "identityToken"}
ACTIONS = ("read", "delete")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of one token."""

    outcome: str
    """`decided`, `refused` (the token does not count), or `failed`."""
    kind: str = ""
    principal: str = ""
    allowed: tuple[bool, ...] = ()
    """By action."""
    policies: frozenset[str] = frozenset()
    """Names of the determining policies of all actions."""
    errors: int = 0
    """Policies that were skipped."""


REFUSED = Answer(outcome="refused")


class Pair:
    """A policy store of the emulator with an identity source, and its replica."""

    def __init__(
        self,
        emulator: Emulator,
        source: Source,
        folder: Path,
        *,
        mode: str = "STRICT",
        more: Mapping[str, str] | None = None,
    ) -> None:
        self.source = source
        self.client = emulator.client()
        self.store = emulator.store(SCHEMA, mode=mode)
        self.names: dict[str, str] = {}
        self.remote: dict[bool, AvpDecisionPoint] = {}
        """The product's remote decision point; True: it hands on the token."""
        self._calls: list[AvpCalls] = []
        self._runner = asyncio.Runner()
        for name, statement in {**policies(source.prefix), **(more or {})}.items():
            self._add(name, statement)
        self.client.create_identity_source(
            policyStoreId=self.store, principalEntityType=USER, configuration=source.configuration
        )
        self._replicate(emulator, folder)

    def _add(self, name: str, statement: str) -> None:
        made = self.client.create_policy(
            policyStoreId=self.store, name=f"name/{name}", definition={"static": {"statement": statement}}
        )
        self.names[made["policyId"]] = name

    def _replicate(self, emulator: Emulator, folder: Path) -> None:
        replica = AvpStore(emulator.client, ReplicaSettings(policy_store=self.store, requests=10_000.0))
        snapshot = replica.read()
        replica.close()
        file = folder / f"{self.store}.yaml"
        settings = f"issuers:\n  - issuer: {self.source.issuer}\n    {self.source.settings}\n"
        file.write_text(f"policies: {{path: p}}\nroutes: []\n{settings if self.source.settings else ''}")
        compiled = compile_snapshot(snapshot)
        problems: list[Any] = []
        plans = plan_issuers(load_config(file).required(), compiled.schema, problems, snapshot.identity_source)
        assert problems == []
        self.verifier = TokenVerifier([plan.issuer(static(jwk("RS256"))) for plan in plans])
        self.point = CedarDecisionPoint(compiled, CedarSettings())
        for forward in (False, True):
            asking = AvpDecisionSettings(
                policy_store=self.store, timeout=30.0, rate=10_000.0, forward_token=forward, group_type=GROUP
            )
            calls = AvpCalls(lambda: self.client, asking)
            self._calls.append(calls)
            self.remote[forward] = AvpDecisionPoint(calls, schema=compiled.schema)

    def close(self) -> None:
        """Ends its threads and its loop."""
        for calls in self._calls:
            calls.close()
        self._runner.close()

    # --- asking

    def here(self, token: str) -> Answer:
        """What the product says."""
        return self._runner.run(self._here(token, self.point))

    def by_remote_point(self, token: str, *, forward: bool) -> Answer:
        """What the product says where its remote decision point decides; `forward`: it hands on the token."""
        point = self.remote[forward]
        answer = self._runner.run(self._here(token, point))
        asked = {operation for operation, _ in point.calls.calls}
        assert asked <= {"IsAuthorizedWithToken" if forward else "IsAuthorized"}
        return answer

    async def _here(self, token: str, point: DecisionPoint) -> Answer:
        try:
            identity = await self.verifier.verify(token)
        except Unauthenticated:
            return REFUSED
        assert identity.credential is not None
        kind = identity.credential.kind
        try:
            decisions = [await point.decide(_query(identity, action)) for action in ACTIONS]
        except Unavailable:
            return Answer(outcome="failed", kind=kind, principal=str(identity.principal))
        return Answer(
            outcome="decided",
            kind=kind,
            principal=str(identity.principal),
            allowed=tuple(decision.verdict.value == "allow" for decision in decisions),
            policies=frozenset(self.names[id] for decision in decisions for id in decision.policies),
            errors=sum(len(decision.errors) for decision in decisions),
        )

    def there(self, token: str, kind: str) -> Answer:
        """What Verified Permissions says of the token as one of that kind."""
        try:
            answers = [self._there(token, kind, action) for action in ACTIONS]
        except ClientError as error:
            assert error.response["Error"]["Code"] == "ValidationException"
            return REFUSED
        principals = {str(EntityUid(a["principal"]["entityType"], a["principal"]["entityId"])) for a in answers}
        assert len(principals) == 1
        return Answer(
            outcome="decided",
            kind=kind,
            principal=principals.pop(),
            allowed=tuple(answer["decision"] == "ALLOW" for answer in answers),
            policies=frozenset(self.names[one["policyId"]] for a in answers for one in a["determiningPolicies"]),
            errors=sum(len(answer["errors"]) for answer in answers),
        )

    def _there(self, token: str, kind: str, action: str) -> Any:
        return self.client.is_authorized_with_token(
            policyStoreId=self.store,
            action={"actionType": "App::Action", "actionId": action},
            resource={"entityType": DOC, "entityId": "d-1"},
            **{FIELDS[kind]: token},
        )

    def both(self, token: str) -> tuple[Answer, Answer]:
        """The two answers. Of each token one kind counts at most, whatever it is handed over as."""
        here = self.here(token)
        there = [self.there(token, kind) for kind in FIELDS]
        taken = [answer for answer in there if answer != REFUSED]
        assert len(taken) <= 1
        return here, taken[0] if taken else REFUSED


def _query(identity: Identity, action: str) -> Query:
    return Query(
        principal=identity.principal,
        action=EntityUid("App::Action", action),
        resource=EntityUid(DOC, "d-1"),
        context={"token": identity.token} if identity.token is not None else {},
        entities=(identity.entities,),
        credential=identity.credential,
    )


def usual(source: Source, kind: str) -> dict[str, Any]:
    """Claims of a token that counts."""
    now = int(time.time())
    claims: dict[str, Any] = {"iss": source.issuer, "sub": "u-1", "iat": now - 10, "exp": now + 3600, **source.claims}
    if "cognitoUserPoolConfiguration" in source.configuration:
        claims |= {"token_use": kind}
        return claims | ({"client_id": "web"} if kind == "access" else {"aud": "web"})
    claims |= {"email": "u@example.com"} if kind == "id" else {}
    return claims | {"aud": "api" if kind == "access" else "web"}


def token(source: Source, kind: str, changes: Mapping[str, Any], header: Mapping[str, Any] | None = None) -> str:
    """A signed token. A change to `...` leaves the claim out."""
    claims = {name: value for name, value in {**usual(source, kind), **changes}.items() if value is not ...}
    return signed(claims, header=header)
