"""How a store is read: lists that have no end, and texts that are not given. With a client that says what it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

from authz.aws.budget import Budget
from authz.aws.errors import AvpError, Kind
from authz.devtools.avp import remote as module
from authz.devtools.avp.remote import MAX_EMPTY_PAGES, TRIES, Remote, read_store

STORE = "PSEXAMPLEabcdefg111111"
Answer = Mapping[str, Any]
NAMES = {
    "get_policy_store": "GetPolicyStore",
    "get_schema": "GetSchema",
    "list_policies": "ListPolicies",
    "list_policy_templates": "ListPolicyTemplates",
    "list_identity_sources": "ListIdentitySources",
    "batch_get_policy": "BatchGetPolicy",
}


class Client:
    """Answers as a store that holds these policies; single operations can be answered otherwise."""

    def __init__(self, ids: Sequence[str] = (), **other: Callable[[Answer], Answer]) -> None:
        self._ids = ids
        self._other = other
        shape = SimpleNamespace(output_shape=SimpleNamespace(required_members=()))
        self.meta = SimpleNamespace(
            method_to_api_mapping=NAMES, service_model=SimpleNamespace(operation_model=lambda _: shape)
        )

    def __getattr__(self, name: str) -> Callable[..., Answer]:
        if name not in NAMES:
            raise AttributeError(name)
        own = self._other.get(name, getattr(type(self), f"_{name}", lambda *_: {}).__get__(self))
        return lambda **arguments: own(arguments)

    def _get_policy_store(self, _: Answer) -> Answer:
        return {"policyStoreId": STORE, "validationSettings": {"mode": "OFF"}}

    def _get_schema(self, _: Answer) -> Answer:
        return {"schema": "{}"}

    def _list_policies(self, _: Answer) -> Answer:
        return {"policies": [{"policyId": id, "definition": {"static": {}}} for id in self._ids]}

    def _list_policy_templates(self, _: Answer) -> Answer:
        return {"policyTemplates": []}

    def _list_identity_sources(self, _: Answer) -> Answer:
        return {"identitySources": []}


def remote_of(client: Client, sleep: Callable[[float], None] = lambda _: None) -> Remote:
    return Remote(client=client, budget=Budget(1e6), sleep=sleep)  # type: ignore[arg-type]


# --- lists


def tokens(names: Iterator[str], policies: Sequence[str]) -> Callable[[Answer], Answer]:
    items = [{"policyId": id, "definition": {"static": {}}} for id in policies]
    return lambda _: {"policies": items, "nextToken": next(names)}


@pytest.mark.parametrize(
    ("answer", "said", "calls"),
    [
        (tokens(iter(["a", "a"]), ["P1"]), "a page's `nextToken` came before", 2),
        (tokens(iter(["a", "b", "c", "a"]), ["P1"]), "a page's `nextToken` came before", 4),
        (tokens(map(str, count()), ["P1"]), "more than 300 pages", 300),
        (tokens(map(str, count()), []), f"{MAX_EMPTY_PAGES + 1} empty pages in a row", MAX_EMPTY_PAGES + 1),
    ],
)
def test_a_list_without_end_is_refused(monkeypatch, answer, said, calls):
    monkeypatch.setattr(module, "MAX_PAGES", 300)
    remote = remote_of(Client(list_policies=answer))
    with pytest.raises(AvpError) as caught:
        list(remote.pages("list_policies", "policies", policyStoreId=STORE))
    assert str(caught.value) == f"ListPolicies: a list without end ({said})"
    assert caught.value.kind is Kind.FAULT
    assert remote.calls == calls


def test_short_and_empty_pages_are_legal():
    one, two = {"policyId": "P1"}, {"policyId": "P2"}
    pages = iter(
        [([one], "a"), *(([], f"e{number}") for number in range(MAX_EMPTY_PAGES)), ([two, one], "b"), ([], "")]
    )

    def answer(_: Answer) -> Answer:
        items, token = next(pages)
        return {"policies": items, "nextToken": token}

    remote = remote_of(Client(list_policies=answer))
    assert list(remote.pages("list_policies", "policies", policyStoreId=STORE)) == [one, two, one]


# --- texts


def giving(codes: Mapping[str, str], late: Mapping[str, int] | None = None) -> Callable[[Answer], Answer]:
    """Gives texts, but of some an error (an empty code: no answer at all), the first so many times."""
    left = dict(late) if late is not None else dict.fromkeys(codes, 10**6)

    def answer(arguments: Answer) -> Answer:
        results, errors = [], []
        for id in (item["policyId"] for item in arguments["requests"]):
            if left.get(id, 0) > 0:
                left[id] -= 1
                errors += [{"policyId": id, "policyStoreId": STORE, "code": codes[id]}] if codes[id] else []
            else:
                text = f'permit(principal, action, resource == R::"{id}");'
                results.append({"policyId": id, "definition": {"static": {"statement": text}}})
        return {"results": results, "errors": errors}

    return answer


def test_a_policy_that_was_deleted_meanwhile_is_not_there():
    waits: list[float] = []
    client = Client(["P1", "P2", "P3"], batch_get_policy=giving({"P2": "POLICY_NOT_FOUND"}))
    found = read_store(remote_of(client, waits.append), STORE)
    assert [policy.id for policy in found.content.policies] == ["P1", "P3"]
    assert len(waits) == TRIES - 1


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("POLICY_STORE_NOT_FOUND", Kind.MISSING),
        ("POLICY_STORE_ALIAS_NOT_FOUND", Kind.MISSING),
        ("SOMETHING_NEW", Kind.FAULT),
        ("", Kind.FAULT),
    ],
)
def test_a_policy_that_is_missing_for_another_reason_is_no_policy_that_was_deleted(code, kind):
    client = Client(["P1", "P2", "P3"], batch_get_policy=giving({"P1": "POLICY_NOT_FOUND", "P2": code, "P3": code}))
    with pytest.raises(AvpError) as caught:
        read_store(remote_of(client), STORE)
    why = code or "left out of the answer"
    assert str(caught.value) == f"BatchGetPolicy: no text of policy `P2` and 1 more ({why})"
    assert caught.value.kind is kind


@pytest.mark.parametrize("code", ["POLICY_NOT_FOUND", "POLICY_STORE_NOT_FOUND", "SOMETHING_NEW", ""])
def test_a_text_that_comes_late_is_waited_for(code):
    client = Client(["P1", "P2"], batch_get_policy=giving({"P2": code}, {"P2": TRIES - 1}))
    found = read_store(remote_of(client), STORE)
    assert [policy.id for policy in found.content.policies] == ["P1", "P2"]
