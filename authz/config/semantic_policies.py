"""What may be wrong with `policies`, and with the `cache` of a route."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from authz.config.policies import PoliciesShape, VerifiedPermissionsShape
from authz.config.shape import ConfigShape
from authz.config.yaml_text import Place

MIN_INTERVAL = 1.0
"""Seconds between two looks at a store, at least."""
_Finding = tuple[Place, str, str]


def policy_problems(shape: ConfigShape) -> Iterator[_Finding]:
    """(place, message, severity) of every problem."""
    for place, message, severity in (*_store(shape.policies), *_decide(shape)):
        yield ("policies", *place), message, severity
    if shape.policies.verified_permissions is not None:
        for place, message in _avp(shape.policies.verified_permissions):
            yield ("policies", "verified_permissions", *place), message, "error"


def _store(policies: PoliciesShape) -> Iterator[_Finding]:
    if policies.store == "files":
        if policies.path is None:
            yield (), "`policies.path` is required: the folder of the policy files", "error"
        if policies.entities is not None:
            yield ("entities",), "with `store: files` the entities are in `entities.json` of the folder", "error"
        return
    if policies.path is not None:
        text = "`policies.path` is for `store: files`; here the policies come from `policies.verified_permissions`"
        yield ("path",), text, "error"
    if policies.verified_permissions is None:
        yield ("store",), "`policies.verified_permissions` is required: which policy store?", "error"


def _decide(shape: ConfigShape) -> Iterator[_Finding]:
    policies = shape.policies
    avp = policies.verified_permissions
    if policies.decide != "local" and avp is None:
        text = f"`decide: {policies.decide}` asks Verified Permissions: say which in `policies.verified_permissions`"
        yield ("decide",), text, "error"
    if avp is None:
        return
    if policies.store == "files" and policies.decide == "local" and avp.parity is None:
        text = "nothing uses `policies.verified_permissions`: neither `store` nor `decide` nor `parity`"
        yield ("verified_permissions",), text, "warning"
    if avp.parity is not None and policies.decide in {"remote", "remote_or_local"}:
        text = f"`parity` asks again what was decided here first, and with `decide: {policies.decide}` nothing is"
        yield ("verified_permissions", "parity"), text, "error"
    if policies.decide != "local" and avp.remote.timeout > shape.limits.deadline:
        text = "`remote.timeout` is longer than `limits.deadline`: the check would be given up before its decision is"
        yield ("verified_permissions", "remote", "timeout"), text, "warning"


def _avp(avp: VerifiedPermissionsShape) -> Iterator[tuple[Place, str]]:
    for name in ("interval", "slow_interval"):
        if getattr(avp.replica, name) < MIN_INTERVAL:
            yield ("replica", name), f"`replica.{name}` is shorter than {MIN_INTERVAL:g} s: the store's quota is shared"
    if avp.remote.timeout <= 0:
        yield ("remote", "timeout"), "`remote.timeout` must be longer than nothing"
    if avp.endpoint is not None and not _is_address(avp.endpoint):
        yield ("endpoint",), "`endpoint` must be an http or https address"


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        return False
