"""What every `PolicyStore` does, the fake included."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from authz.core.errors import Misconfigured, PoliciesUnavailable, Problem
from authz.core.model import Effect, Policy, PolicySnapshot
from authz.core.ports import PolicyStore
from authz.pdp.compiled import compile_snapshot
from authz.stores.file import FileStore
from authz.testing import FakePolicyStore
from tests.stores.avp_fake import FakeAvp, replica

TEXT = '@id("one") permit(principal, action, resource);'


@dataclass(frozen=True, kw_only=True)
class Case:
    """A store with one policy, and one whose content cannot be a policy set."""

    store: PolicyStore
    spoiled: PolicyStore


def files(folder) -> Case:
    good, bad = folder / "good", folder / "bad"
    for path, text in ((good, TEXT), (bad, "permit(")):
        path.mkdir()
        (path / "all.cedar").write_text(text)
    return Case(store=FileStore(path=good), spoiled=FileStore(path=bad))


def fake(_folder) -> Case:
    policy = Policy(id="one", text=TEXT, effect=Effect.PERMIT, annotations={"id": "one"})
    snapshot = PolicySnapshot(version="v1", policies=(policy,), origin="fake")
    return Case(
        store=FakePolicyStore(snapshot),
        spoiled=FakePolicyStore(snapshot, failure=Misconfigured((Problem(message="as the test wants it"),))),
    )


def verified_permissions(_folder) -> Case:
    good, bad = FakeAvp(), FakeAvp()
    good.static(TEXT, id="one")
    bad.static("permit(", id="one")
    return Case(store=replica(good.client), spoiled=replica(bad.client))


@pytest.fixture(params=[files, fake, verified_permissions], ids=lambda make: make.__name__)
def case(request, tmp_path) -> Case:
    return request.param(tmp_path)


async def test_it_gives_the_whole_content_at_once(case):
    snapshot = await case.store.load()
    assert [policy.id for policy in snapshot.policies] == ["one"]
    assert snapshot.version
    assert snapshot.origin


async def test_loading_twice_gives_the_same_version(case):
    assert (await case.store.load()).version == (await case.store.load()).version


async def test_what_it_gives_can_be_compiled(case):
    compiled = compile_snapshot(await case.store.load())
    assert set(compiled.rows) == {"one"}


async def test_content_that_cannot_be_a_policy_set_is_told_with_every_problem(case):
    with pytest.raises(Misconfigured) as caught:
        await case.spoiled.load()
    assert caught.value.problems


async def test_a_store_that_cannot_be_read_says_so(tmp_path):
    gone = FakePolicyStore(await fake(tmp_path).store.load(), failure=PoliciesUnavailable("unreachable"))
    with pytest.raises(PoliciesUnavailable):
        await gone.load()
