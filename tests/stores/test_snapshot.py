"""The snapshot on disk: what it holds, and every way in which it is not used."""

from __future__ import annotations

import json
import os
import resource
import signal
import stat
import time as Clock  # noqa: N812 - `Time` is that of the tests
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.aws.settings import AvpSettings
from authz.core.errors import Misconfigured, PoliciesUnavailable
from tests.stores.avp_fake import ALIAS, PERMIT, STORE, FakeAvp, Time, refused, replica
from tests.stores.test_avp import COGNITO, OTHER, SCHEMA, oidc


class Down:
    """No answer to any call; counts them."""

    def __init__(self) -> None:
        self.calls = 0

    def __getattr__(self, name: str):
        def call(**_given):
            self.calls += 1
            raise refused(name, "InternalServerException", 500)

        return call

    def close(self) -> None:
        pass


@pytest.fixture
def avp():
    fake = FakeAvp()
    fake.static('@deny_message("No – „nie“") forbid(principal, action, resource);', "no-go")
    fake.static()
    fake.link(fake.template(name="sharing"), 'o"brien\u2028')
    fake.store.schema = SCHEMA
    fake.store.sources = [COGNITO]
    return fake


@pytest.fixture
def path(tmp_path):
    return tmp_path / "snapshot.json"


def kept(avp, path, time=None, **settings):
    """Reads the store, and leaves a snapshot."""
    store = replica(avp.client, time, snapshot=path, **settings)
    return store.read()


# --- a start without the service


@pytest.mark.parametrize("sources", [[COGNITO], [oidc({"accessTokenOnly": {"audiences": ["api"]}})], []])
def test_a_start_without_the_service_gives_the_same_content(avp, path, sources):
    time = Time()
    avp.store.sources = sources
    before = kept(avp, path, time)
    time.pass_by(100)
    store = replica(Down, time, snapshot=path)
    after = store.read()
    assert store.from_disk
    assert after.version == before.version
    assert (after.policies, after.templates, after.links) == (before.policies, before.templates, before.links)
    assert (after.schema, after.identity_source) == (before.schema, before.identity_source)
    assert store.age() == pytest.approx(100, abs=1)
    assert store.trouble
    time.pass_by(50)
    assert store.age() == pytest.approx(150, abs=1)
    assert store.verified_at() == pytest.approx(time.wall - 150, abs=1)


def test_it_recovers_by_itself_and_what_is_the_same_is_the_same_object(avp, path):
    time = Time()
    kept(avp, path, time)
    clients = [Down(), avp]
    store = replica(lambda: clients[0], time, snapshot=path)
    before = store.read()
    with pytest.raises(PoliciesUnavailable):
        store.poll()
    store._calls.close()
    clients.pop(0)
    assert not store.poll()
    assert store.read() is before
    assert not store.from_disk
    assert not store.trouble
    assert store.age() < 5
    avp.static()
    assert store.poll()
    assert {id(one) for one in (*before.policies, *before.templates, *before.links)} <= {
        id(one) for one in (*store.read().policies, *store.read().templates, *store.read().links)
    }


def test_content_that_is_wrong_at_the_start_leaves_the_snapshot_in_use(avp, path):
    time = Time()
    kept(avp, path, time)
    wrong = avp.static("permit(")
    store = replica(avp.client, time, snapshot=path)
    assert len(store.read().policies) == 2
    assert "never closed" in store.trouble
    avp.update(wrong, PERMIT)
    assert store.poll()
    assert len(store.read().policies) == 3


def test_without_a_snapshot_both_reasons_are_told_and_it_recovers(avp, path):
    clients = [Down()]
    store = replica(lambda: clients[0], snapshot=path)
    with pytest.raises(PoliciesUnavailable, match=r"fault of its own.*is not used: there is none yet"):
        store.read()
    assert store.age() == float("inf")
    assert store.verified_at() is None
    store._calls.close()
    clients[0] = avp
    assert store.read().version
    assert store.snapshot_writes == {"written": 1, "failed": 0}
    assert not store.snapshot_trouble


def test_an_alias_is_as_good_as_a_store_when_it_is_the_same(avp, path):
    avp.aliases[ALIAS] = (STORE, "Active")
    time = Time()
    kept(avp, path, time, policy_store=ALIAS)
    for reference in (ALIAS, STORE):
        assert replica(Down, time, snapshot=path, policy_store=reference).read().origin == f"avp:{STORE}"


# --- what is not used


@pytest.mark.parametrize(
    "other", [{"region": "eu-west-1"}, {"endpoint": "http://127.0.0.1:4000"}, {"profile": "tests"}]
)
def test_an_alias_of_another_place_is_not_the_same_one(avp, path, other):
    time = Time()
    avp.aliases[ALIAS] = (STORE, "Active")
    here = AvpSettings(policy_store=ALIAS, region="us-east-1")
    kept(avp, path, time, policy_store=ALIAS, reached=here)
    assert replica(Down, time, snapshot=path, policy_store=ALIAS, reached=here).read().origin == f"avp:{STORE}"
    there = replica(Down, time, snapshot=path, policy_store=ALIAS, reached=replace(here, **other))
    with pytest.raises(PoliciesUnavailable, match="another region, endpoint or profile"):
        there.read()
    # An id is that of one policy store everywhere.
    replica(Down, time, snapshot=path, policy_store=STORE, reached=replace(here, **other)).read()


def changed(data: bytes, **members) -> bytes:
    """The body with other members, and a digest that is right."""
    import hashlib

    body = json.dumps(json.loads(data)["body"] | members).encode()
    digest = hashlib.sha256(b"authz snapshot 1\n" + body).hexdigest()
    return b'{"format":1,"body":' + body + b',"digest":"' + digest.encode() + b'"}'


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda _data: b"", "damaged"),
        (lambda data: data[:-2], "damaged"),
        (lambda data: data[: len(data) // 2], "damaged"),
        (lambda data: data.replace(b"forbid", b"permit"), "digest"),
        (lambda data: data.replace(b'"verified_at":18', b'"verified_at":19'), "digest"),
        (lambda data: data + data, "damaged"),
        (lambda _data: b"[" * 100_000, "damaged"),
        (lambda data: data.replace(b'"format":1', b'"format":2'), "format 2"),
        (lambda data: data.replace(b'"format":1', b'"format":1,"more":1'), "damaged"),
        (lambda data: changed(data, store=OTHER, reference=OTHER), "another policy store"),
        (lambda data: changed(data, policies="all"), "damaged"),
        (lambda data: changed(data, more=1), "damaged"),
        (lambda data: changed(data, policies=[["a", "", "permit("]]), "never closed"),
        (
            lambda data: changed(data, policies=[["a", "", "permit(principal == ?principal, action, resource);"]]),
            "slot",
        ),
        (lambda data: changed(data, links=[["a", "", "t", ["no type", "a"], None]]), "no entity"),
        (lambda data: changed(data, with_policies=False), "another way"),
        (lambda data: changed(data, verified_at=9e99), "future"),
        (lambda data: changed(data, verified_at=-1), "old"),
        (lambda data: b"\xff" + data, "damaged"),
    ],
)
def test_a_snapshot_that_is_not_as_it_was_written_is_not_used(avp, path, spoil, said):
    time = Time()
    kept(avp, path, time)
    data = path.read_bytes()
    assert replica(Down, time, snapshot=path, max_age=1000.0).read()
    path.write_bytes(spoil(data))
    store = replica(Down, time, snapshot=path, max_age=1000.0)
    with pytest.raises(PoliciesUnavailable, match=f"is not used.*{said}"):
        store.read()
    assert said in store.snapshot_trouble
    good = replica(avp.client, time, snapshot=path)
    assert good.read()
    assert path.read_bytes() != spoil(data)


@given(st.data())
def test_no_change_of_a_single_byte_goes_unseen(tmp_path_factory, data):
    fake = FakeAvp()
    fake.static("forbid(principal, action, resource);")
    path = tmp_path_factory.mktemp("s") / "snapshot.json"
    time = Time()
    before = kept(fake, path, time)
    written = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(written) - 1))
    written[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(written))
    try:
        after = replica(Down, time, snapshot=path).read()
    except PoliciesUnavailable:
        return
    assert after.version == before.version  # white space, or the case of an escape


def test_an_old_one_that_is_put_back_is_as_old_as_it_is(avp, path):
    time = Time()
    kept(avp, path, time)
    old = path.read_bytes()
    time.pass_by(900)
    kept(avp, path, time)
    assert path.read_bytes() != old
    path.write_bytes(old)
    store = replica(Down, time, snapshot=path, max_age=1000.0)
    store.read()
    assert store.age() == pytest.approx(900, abs=5)
    time.pass_by(200)
    with pytest.raises(PoliciesUnavailable, match="at most 1000 s are allowed"):
        replica(Down, time, snapshot=path, max_age=1000.0).read()


def test_a_clock_that_was_set_back_makes_nothing_younger(avp, path):
    time = Time()
    store = replica(avp.client, time, snapshot=path)
    store.read()
    time.pass_by(100)
    time.wall -= 3600
    assert store.age() >= 100
    with pytest.raises(PoliciesUnavailable, match="future"):
        replica(Down, time, snapshot=path).read()
    store.poll()
    assert store.age() < 5


def test_a_clock_that_was_set_forward_makes_nothing_older_in_a_running_replica(avp, path):
    time = Time()
    store = replica(avp.client, time, snapshot=path)
    store.read()
    time.wall += 1e6
    assert store.age() < 5
    with pytest.raises(PoliciesUnavailable, match="allowed"):
        replica(Down, time, snapshot=path, max_age=3600.0).read()


@pytest.mark.parametrize("kind", ["folder", "pipe", "open to all", "large"])
def test_a_file_of_another_kind_is_not_used(avp, path, kind):
    time = Time()
    kept(avp, path, time)
    settings: dict[str, Any] = {}
    if kind == "folder":
        path.unlink()
        path.mkdir()
    elif kind == "pipe":
        path.unlink()
        os.mkfifo(path)
    elif kind == "open to all":
        path.chmod(0o666)
    else:
        settings = {"max_characters": 100}
    with pytest.raises(PoliciesUnavailable, match="is not used"):
        replica(Down, time, snapshot=path, **settings).read()


def test_a_file_of_another_user_is_not_used(avp, path, monkeypatch):
    """In a folder like `/tmp` anybody can be there first."""
    time = Time()
    kept(avp, path, time)
    if os.geteuid() == 0:
        os.chown(path, 4242, 4242)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 4242)
    with pytest.raises(PoliciesUnavailable, match="belongs to another user"):
        replica(Down, time, snapshot=path).read()


# --- writing


def test_it_is_for_its_owner_alone_and_nothing_is_left_beside_it(avp, path):
    kept(avp, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_it_is_written_when_something_changed_and_seldom_otherwise(avp, path):
    time = Time()
    store = replica(avp.client, time, snapshot=path)
    store.read()
    for _ in range(19):
        time.pass_by(15)
        store.poll()
    assert store.snapshot_writes["written"] == 1
    avp.static()
    store.poll()
    assert store.snapshot_writes["written"] == 2
    for _ in range(21):
        time.pass_by(15)
        store.poll()
    assert store.snapshot_writes["written"] == 3


def test_a_short_maximum_age_has_it_written_more_often(avp, path):
    time = Time()
    store = replica(avp.client, time, snapshot=path, max_age=60.0)
    store.read()
    for _ in range(8):
        time.pass_by(15)
        store.poll()
    assert store.snapshot_writes["written"] >= 5


@contextmanager
def no_room(bytes_left: int) -> Iterator[None]:
    """What a full disk does: a file cannot become larger."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_is_told_and_counted_and_the_replica_goes_on(avp, path):
    time = Time()
    store = replica(avp.client, time, snapshot=path)
    store.read()
    before = path.read_bytes()
    avp.static()
    with no_room(64):
        assert store.poll()
        assert len(store.read().policies) == 3
        assert store.snapshot_writes == {"written": 1, "failed": 1}
        assert "cannot be written" in store.snapshot_trouble
        assert not store.trouble
        assert path.read_bytes() == before
        assert [one.name for one in path.parent.iterdir()] == [path.name]
        time.pass_by(15)
        store.poll()
        assert store.snapshot_writes["failed"] == 1
    time.pass_by(61)
    store.poll()
    assert store.snapshot_writes == {"written": 2, "failed": 1}
    assert not store.snapshot_trouble
    assert len(replica(Down, time, snapshot=path).read().policies) == 3


def test_what_a_killed_process_left_is_removed_and_nothing_else(avp, path):
    for name, age in ((".snapshot.json.abc.new", 7200), (".snapshot.json.def.new", 10), ("other.new", 7200)):
        (path.parent / name).write_text("x")
        os.utime(path.parent / name, (Clock.time() - age,) * 2)
    kept(avp, path)
    assert {one.name for one in path.parent.iterdir()} == {".snapshot.json.def.new", "other.new", path.name}


def test_a_folder_that_is_not_there_is_told(avp, tmp_path):
    store = replica(avp.client, snapshot=tmp_path / "none" / "snapshot.json")
    assert store.read()
    assert "cannot be written (No such file or directory)" in store.snapshot_trouble


def test_without_a_path_nothing_is_kept(avp):
    store = replica(avp.client)
    store.read()
    assert store.snapshot_writes == {"written": 0, "failed": 0}
    assert not store.snapshot_trouble


def test_wrong_content_is_not_written(avp, path):
    store = replica(avp.client, snapshot=path)
    store.read()
    before = path.read_bytes()
    avp.static("permit(")
    with pytest.raises(Misconfigured):
        store.poll()
    assert path.read_bytes() == before
