"""Which policy store a configuration names. One that is kept over reloads, for it knows what it read before."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from authz.aws.settings import AvpSettings
from authz.config.load import Config
from authz.config.policies import VerifiedPermissionsShape
from authz.core.errors import Misconfigured, PoliciesUnavailable
from authz.core.model import PolicySnapshot
from authz.core.pieces import Pause
from authz.stores.file import FileStore

if TYPE_CHECKING:
    from authz.stores.avp import AvpStore, ReplicaSettings

Store: TypeAlias = "FileStore | AvpStore"

NO_POLICIES = PolicySnapshot(version="", policies=())
"""Stands for a policy set where there is none yet: nothing is decided by it."""
CALL_TIMEOUT = 5.0
"""Seconds for one management call of the replica; nobody waits for it."""
CALLS_AT_ONCE = 4
FIRST_LOOK = 10.0
"""Seconds for which a start waits for the first look at a policy store before it opens its doors without policies."""
MAX_ENTITIES = 64 * 1024 * 1024
"""Bytes of the file of entities."""


def policy_store(
    config: Config, previous: Store | None, pause: Pause, *, serves: bool = False, sharing: int = 1
) -> Store | None:
    """The store; `previous` where it is the same one. None: the configuration does not say enough.

    Args:
        config: what is configured.
        previous: the one in use, if there is one.
        pause: called after each small step of a reading.
        serves: something is decided by it. Only then is a snapshot on disk read and written: who only looks at a
            configuration must see its faults, and leave no trace.
        sharing: how many processes share the budget of calls.
    """
    policies = config.shape.policies
    if policies.store == "files":
        if policies.path is None:
            return None
        path = config.path(policies.path)
        if isinstance(previous, FileStore) and previous.path == path:
            return previous
        return FileStore(path=path, pause=pause)
    if policies.verified_permissions is None:
        return None
    settings = _replica_settings(config, policies.verified_permissions, serves=serves, sharing=sharing)
    return _replica(policies.verified_permissions, settings, previous, pause)


def _replica(
    avp: VerifiedPermissionsShape, settings: ReplicaSettings, previous: Store | None, pause: Pause
) -> AvpStore:
    from authz.aws.client import avp_client
    from authz.stores.avp import AvpStore

    reached = avp_settings(avp, timeout=CALL_TIMEOUT, connections=CALLS_AT_ONCE)
    if isinstance(previous, AvpStore) and previous.reached == reached and previous.settings == settings:
        return previous
    return AvpStore(lambda: avp_client(reached), settings, reached=reached, pause=pause)


def _replica_settings(config: Config, avp: VerifiedPermissionsShape, *, serves: bool, sharing: int) -> ReplicaSettings:
    from authz.stores.avp import ReplicaSettings

    policies = config.shape.policies
    file = config.path(avp.replica.snapshot) if serves and avp.replica.snapshot is not None else None
    return ReplicaSettings(
        policy_store=avp.policy_store,
        requests=avp.replica.requests / sharing,
        interval=avp.replica.interval,
        slow_interval=avp.replica.slow_interval,
        snapshot=file,
        max_age=policies.oldest,
        with_policies=policies.decide != "remote",
    )


def read_within(store: Store, seconds: float) -> PolicySnapshot:
    """What the store holds. A first look at a large policy store takes minutes, within its budget of calls: that it
    is still under way is a reason to wait for it with open doors, where whoever looks after processes can see why.

    Raises:
        Misconfigured, PoliciesUnavailable: as the store does; or it takes longer, and goes on.
    """
    if isinstance(store, FileStore):
        return store.read()
    ended: list[PolicySnapshot | BaseException] = []

    def read() -> None:
        try:
            ended.append(store.read())
        except BaseException as error:  # noqa: BLE001 - raised again below
            ended.append(error)

    # Not of the pool of the event loop, whose end would wait for it.
    thread = threading.Thread(target=read, name="authz-first-look", daemon=True)
    thread.start()
    thread.join(seconds)
    if not ended:
        raise PoliciesUnavailable(f"the first look at the policy store takes longer than {seconds:g} s, and goes on")
    if isinstance(ended[0], BaseException):
        raise ended[0]
    return ended[0]


def close_store(store: Store) -> None:
    """Ends what the store has under way, for good."""
    if not isinstance(store, FileStore):
        store.close()


def with_entities(config: Config, snapshot: PolicySnapshot) -> PolicySnapshot:
    """The snapshot with the entities that the configuration keeps beside a store that has none.

    Raises:
        Misconfigured: the file cannot be read.
    """
    name = config.shape.policies.entities
    if name is None:
        return snapshot
    path = config.path(name)
    try:
        if path.stat().st_size > MAX_ENTITIES:
            raise _wrong(config, f"`{name}` is larger than {MAX_ENTITIES} bytes")
        data = path.read_bytes()
        text = data.decode("utf-8")
    except OSError as error:
        raise _wrong(config, f"`{name}` cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise _wrong(config, f"`{name}` is not UTF-8") from None
    version = hashlib.sha256(f"{snapshot.version}:".encode() + data).hexdigest()[:16]
    return replace(snapshot, entities=text, entities_file=str(path), version=version)


def _wrong(config: Config, message: str) -> Misconfigured:
    return Misconfigured((config.problem(("policies", "entities"), message),))


def store_age(store: Store) -> Callable[[], float]:
    """Seconds since what the store gave last was known to be its content. Files are watched: theirs is current."""
    return (lambda: 0.0) if isinstance(store, FileStore) else store.age


def avp_settings(avp: VerifiedPermissionsShape, *, timeout: float, connections: int) -> AvpSettings:
    """How the store is reached, with `timeout` seconds for one answer."""
    return AvpSettings(
        policy_store=avp.policy_store,
        region=avp.region,
        endpoint=avp.endpoint,
        profile=avp.profile,
        connect_timeout=min(timeout, 1.0),
        read_timeout=timeout,
        connections=connections,
        attempts=1,
    )
