"""How old what decides is: a rejected change never makes it younger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from authz.core.errors import PoliciesUnavailable
from authz.core.model import PolicySnapshot
from authz.wiring.freshness import Freshness
from authz.wiring.keeper import Keeper, Kept


@dataclass
class World:
    """A store that was known to be as it is at `verified`, by one clock."""

    now: float = 10_000.0
    verified: float = 10_000.0

    def age(self) -> float:
        return self.now - self.verified


@dataclass
class Store:
    """As a replica for its keeper: each look finds one version, or fails."""

    world: World
    version: str = "1"
    reachable: bool = True
    snapshot_trouble: str = ""
    kept: list[str] = field(default_factory=list)
    """Versions of which the snapshot was told that they decide."""

    def poll(self) -> bool:
        if not self.reachable:
            raise PoliciesUnavailable("down")
        self.world.verified = self.world.now
        return True

    def read(self) -> PolicySnapshot:
        return PolicySnapshot(version=self.version, policies=())

    def keep(self, version: str) -> None:
        self.kept.append(version)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def freshness(world: World) -> Freshness:
    return Freshness(now=lambda: world.now, content_age=world.age)


@pytest.fixture
def store(world: World) -> Store:
    return Store(world)


def keeper(world: World, freshness: Freshness, store: Store, takes: Callable[[str], bool]) -> Keeper:
    """Whoever takes a version has it in force from then on, as a reload does."""
    state = {"in force": "1"}

    async def reload(age: float | None) -> bool:
        if takes(store.version):
            state["in force"] = store.version
            freshness.accepted()
            return True
        freshness.rejected(age)
        return False

    kept = Kept(in_force=lambda: state["in force"], reload=reload, freshness=freshness)
    return Keeper(store, kept, clock=lambda: world.now)  # type: ignore[arg-type]


def test_files_are_current_until_a_change_is_rejected(world):
    freshness = Freshness(now=lambda: world.now)
    world.now += 100
    assert freshness.age() == 0
    freshness.rejected()
    world.now += 7
    freshness.rejected()
    world.now += 1
    assert freshness.age() == 8
    freshness.accepted()
    assert freshness.age() == 0


def test_a_rejected_change_makes_an_old_replica_no_younger(world, freshness):
    world.now += 4_000  # the store cannot be reached
    freshness.rejected()  # somebody saves a file with a mistake
    assert freshness.age() == 4_000
    world.now += 10
    assert freshness.age() == 4_010


def test_a_replica_that_is_current_again_is_as_old_as_the_rejected_change(world, freshness):
    world.now += 3_000
    freshness.rejected()
    world.now += 10
    world.verified = world.now
    assert freshness.age() == 10


def test_what_is_rejected_later_counts_from_when_the_content_was_last_known(world, freshness):
    world.now += 1_000
    freshness.rejected()
    world.now += 1_000
    age = freshness.age()
    world.verified = world.now  # the store is back, with a content that is rejected too
    freshness.rejected(age)
    assert freshness.age() == 2_000


async def test_looks_that_find_nothing_new_do_not_hide_a_rejected_change_of_files(world, freshness, store):
    kept = keeper(world, freshness, store, lambda _: True)
    freshness.rejected()  # such as a deny list, or the entities beside the store
    for _ in range(3):
        world.now += 15
        await kept.look()
    assert freshness.age() == 45
    freshness.accepted()
    assert freshness.age() == 0


async def test_a_content_that_is_refused_and_withdrawn_leaves_no_age(world, freshness, store):
    kept = keeper(world, freshness, store, lambda version: version == "1")
    store.version = "2"
    world.now += 15
    await kept.look()
    world.now += 15
    assert freshness.age() == 30
    store.version = "1"
    await kept.look()
    assert freshness.age() == 0


async def test_a_content_that_is_withdrawn_does_not_hide_a_rejected_change_of_files(world, freshness, store):
    kept = keeper(world, freshness, store, lambda version: version == "1")
    freshness.rejected()
    world.now += 10
    store.version = "2"
    await kept.look()
    world.now += 10
    store.version = "1"
    await kept.look()
    assert freshness.age() == 20


async def test_a_store_that_cannot_be_reached_ages_whatever_else_happens(world, freshness, store):
    kept = keeper(world, freshness, store, lambda version: version == "1")
    store.reachable = False
    for _ in range(4):
        world.now += 15
        await kept.look()
        freshness.rejected()
    assert freshness.age() == 60


# --- what was rejected is tried again, seldom


async def looks(world: World, kept: Keeper, seconds: float) -> None:
    end = world.now + seconds
    while world.now < end:
        world.now += 15
        await kept.look()


async def test_a_content_that_was_rejected_by_chance_is_taken_by_itself(world, freshness, store):
    tried: list[float] = []

    def takes(version: str) -> bool:
        tried.append(world.now)
        return len(tried) > 1  # such as a trial's child that was killed for want of memory

    kept = keeper(world, freshness, store, takes)
    store.version = "2"
    await looks(world, kept, 90)
    assert len(tried) == 2
    assert freshness.age() == 0
    await looks(world, kept, 3_600)
    assert len(tried) == 2


@pytest.mark.parametrize("reachable", [True, False])
async def test_a_state_of_the_files_that_was_rejected_by_chance_is_taken_by_itself(world, freshness, store, reachable):
    kept = keeper(world, freshness, store, lambda _: True)
    freshness.rejected()  # it names another store, say, and that one cannot be reached
    store.reachable = reachable
    await looks(world, kept, 90)
    assert freshness.rejected_at is None


async def test_what_is_rejected_is_tried_again_less_and_less_often(world, freshness, store):
    tried: list[float] = []

    def refuses(_: str) -> bool:
        tried.append(world.now)
        return False

    kept = keeper(world, freshness, store, refuses)
    store.version = "2"
    await looks(world, kept, 12 * 3_600)
    pauses = [later - earlier for earlier, later in pairwise(tried)]
    assert pauses == sorted(pauses)
    assert pauses[0] == 60
    assert pauses[-1] == 900
    assert freshness.age() == 12 * 3_600
