"""A Verified Permissions of a few lines, for orders of events that no server can be brought to make.

It answers as a boto3 client does. What the service itself does is tested through the emulator.
"""

# ruff: noqa: N802, N803 - the names are the service's

from __future__ import annotations

import random as randomness
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from authz.aws.settings import AvpSettings
from authz.stores.avp import AvpStore, ReplicaSettings

STORE = "PSEXAMPLEabcdefg111111"
ALIAS = "policy-store-alias/main"
PERMIT = "permit(principal, action, resource);"


def refused(operation: str, code: str, status: int = 400) -> ClientError:
    error: Any = {
        "Error": {"Code": code, "Message": "as the test wants it"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(error, operation)


@dataclass
class FakeStore:
    """What one policy store holds."""

    policies: dict[str, dict[str, Any]] = field(default_factory=dict)
    templates: dict[str, dict[str, Any]] = field(default_factory=dict)
    schema: str | None = None
    sources: list[dict[str, Any]] = field(default_factory=list)


class FakeAvp:
    """The service, and its own client."""

    def __init__(self) -> None:
        self.stores = {STORE: FakeStore()}
        self.aliases: dict[str, tuple[str, str]] = {}
        self.page = 50
        self.calls: Counter[str] = Counter()
        self.clients = 0
        self.closed = 0
        self.answers: Callable[[str, Any], Any] = lambda _operation, answer: answer
        self.before: Callable[[str, int], None] = lambda _operation, _number: None
        """Called with each operation and how often it was called before; may change the store, or raise."""
        self._dates = datetime(2026, 1, 1, tzinfo=UTC)
        self._ids = 0

    def client(self) -> FakeAvp:
        self.clients += 1
        return self

    def close(self) -> None:
        self.closed += 1

    # --- edits

    @property
    def store(self) -> FakeStore:
        return self.stores[STORE]

    def static(self, statement: str = PERMIT, name: str = "", *, store: str = STORE, id: str = "") -> str:
        id = id or self._id("SP")
        self.stores[store].policies[id] = {
            "policyStoreId": store,
            "policyId": id,
            "policyType": "STATIC",
            "definition": {"static": {"statement": statement, "description": "of a test"}},
            "createdDate": self._dates,
            "lastUpdatedDate": self.date(),
            **({"name": f"name/{name}"} if name else {}),
        }
        return id

    def update(self, id: str, statement: str) -> None:
        policy = self.store.policies[id]
        policy["definition"] = {"static": {"statement": statement}}
        policy["lastUpdatedDate"] = self.date()

    def template(self, statement: str = "permit(principal == ?principal, action, resource);", name: str = "") -> str:
        id = self._id("PT")
        self.store.templates[id] = {
            "policyStoreId": STORE,
            "policyTemplateId": id,
            "statement": statement,
            "createdDate": self._dates,
            "lastUpdatedDate": self.date(),
            **({"name": f"name/{name}"} if name else {}),
        }
        return id

    def update_template(self, id: str, statement: str) -> None:
        self.store.templates[id] |= {"statement": statement, "lastUpdatedDate": self.date()}

    def delete_template(self, id: str) -> None:
        del self.store.templates[id]
        for link in [one for one in self.store.policies.values() if self._template_of(one) == id]:
            del self.store.policies[link["policyId"]]

    def link(self, template: str, principal: str = "alice") -> str:
        id = self._id("TL")
        self.store.policies[id] = {
            "policyStoreId": STORE,
            "policyId": id,
            "policyType": "TEMPLATE_LINKED",
            "definition": {
                "templateLinked": {
                    "policyTemplateId": template,
                    "principal": {"entityType": "App::User", "entityId": principal},
                }
            },
            "createdDate": self._dates,
            "lastUpdatedDate": self.date(),
        }
        return id

    def date(self) -> datetime:
        self._dates += timedelta(microseconds=1)
        return self._dates

    def _id(self, prefix: str) -> str:
        self._ids += 1
        # Scattered, as the service's are: what is new comes anywhere in a listing.
        return f"{prefix}{randomness.Random(self._ids).getrandbits(64):016x}"

    @staticmethod
    def _template_of(policy: dict[str, Any]) -> str | None:
        return policy["definition"].get("templateLinked", {}).get("policyTemplateId")

    # --- the client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        operation = "".join(part.title() for part in name.split("_"))
        answer = getattr(type(self), f"_{operation}", None)
        if answer is None:
            raise AttributeError(name)

        def call(**given: Any) -> Any:
            number = self.calls[operation]
            self.calls[operation] += 1
            self.before(operation, number)
            return self.answers(operation, answer(self, **given))

        return call

    def _of(self, operation: str, policyStoreId: str) -> FakeStore:
        if policyStoreId not in self.stores:
            raise refused(operation, "ResourceNotFoundException", 404)
        return self.stores[policyStoreId]

    def _paged(self, member: str, items: list[Any], nextToken: str | None, maxResults: int) -> dict[str, Any]:
        start, size = int(nextToken or 0), min(maxResults, self.page)
        more = {"nextToken": str(start + size)} if start + size < len(items) else {}
        return {member: items[start : start + size], **more}

    def _ListPolicies(self, policyStoreId: str, maxResults: int = 10, nextToken: str | None = None) -> Any:
        items = sorted(self._of("ListPolicies", policyStoreId).policies.values(), key=lambda one: one["policyId"])
        for number, item in enumerate(items):
            if item["policyType"] == "STATIC":
                items[number] = {**item, "definition": {"static": {"description": "of a test"}}, "effect": "Permit"}
        return self._paged("policies", items, nextToken, maxResults)

    def _BatchGetPolicy(self, requests: list[dict[str, str]]) -> Any:
        assert 1 <= len(requests) <= 100
        results, errors = [], []
        for request in requests:
            store = self.stores.get(request["policyStoreId"])
            if store is None:
                errors.append({**request, "code": "POLICY_STORE_NOT_FOUND", "message": "no"})
            elif request["policyId"] not in store.policies:
                errors.append({**request, "code": "POLICY_NOT_FOUND", "message": "no"})
            else:
                results.append(dict(store.policies[request["policyId"]]))
        return {"results": results, "errors": errors}

    def _ListPolicyTemplates(self, policyStoreId: str, maxResults: int = 10, nextToken: str | None = None) -> Any:
        store = self._of("ListPolicyTemplates", policyStoreId)
        items = [{key: one[key] for key in one if key != "statement"} for one in store.templates.values()]
        return self._paged("policyTemplates", items, nextToken, maxResults)

    def _GetPolicyTemplate(self, policyStoreId: str, policyTemplateId: str) -> Any:
        store = self._of("GetPolicyTemplate", policyStoreId)
        if policyTemplateId not in store.templates:
            raise refused("GetPolicyTemplate", "ResourceNotFoundException", 404)
        return dict(store.templates[policyTemplateId])

    def _GetSchema(self, policyStoreId: str) -> Any:
        store = self._of("GetSchema", policyStoreId)
        if store.schema is None:
            raise refused("GetSchema", "ResourceNotFoundException", 404)
        return {"policyStoreId": policyStoreId, "schema": store.schema}

    def _ListIdentitySources(self, policyStoreId: str, maxResults: int = 10, nextToken: str | None = None) -> Any:
        sources = self._of("ListIdentitySources", policyStoreId).sources
        return self._paged("identitySources", sources, nextToken, maxResults)

    def _GetPolicyStoreAlias(self, aliasName: str) -> Any:
        if aliasName not in self.aliases:
            raise refused("GetPolicyStoreAlias", "ResourceNotFoundException", 404)
        store, state = self.aliases[aliasName]
        return {"aliasName": aliasName, "policyStoreId": store, "state": state}


@dataclass
class Time:
    """Both clocks of a test; waiting moves them."""

    wall: float = 1_800_000_000.0
    clock: float = 1_000.0
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.pass_by(seconds)

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.clock += seconds


class Accepted(AvpStore):
    """A replica of which every content is accepted by whoever decides by it."""

    def _poll(self) -> bool:
        changed = super()._poll()
        self.keep(self.read().version)
        return changed


def replica(
    client: Callable[[], Any], time: Time | None = None, *, reached: AvpSettings | None = None, **settings: Any
) -> AvpStore:
    """A replica that waits for nothing in reality."""
    time = time or Time()
    settings = {"policy_store": STORE, **settings}
    return Accepted(
        client,
        ReplicaSettings(**settings),
        reached=reached,
        now=lambda: time.wall,
        clock=lambda: time.clock,
        sleep=time.sleep,
        random=lambda: 0.5,
    )
