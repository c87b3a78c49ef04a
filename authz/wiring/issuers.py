"""Issuers as configured → the verifier's values; what can be read now is read, what is remote is planned."""

from __future__ import annotations

import hashlib
import json
import re
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from authz.authn.fetch import KeySource
from authz.authn.issuer import Issuer
from authz.authn.jwks import StaticKeys
from authz.authn.keys import KeySet
from authz.config.load import Config
from authz.config.shape import IssuerShape
from authz.core.cedar_schema import Schema
from authz.core.claims import IdentitySource
from authz.core.errors import Misconfigured, Problem

# Amazon Cognito user pools: `https://cognito-idp.<region>.amazonaws.com/<pool id>`.
_COGNITO = re.compile(r"https://cognito-idp\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?/([A-Za-z0-9_-]+)")
MAX_KEY_FILE = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RemotePlan:
    """A key set to be fetched. Equal plans share one key set over reloads."""

    source: KeySource
    interval: float
    cooldown: float
    max_age: float
    authority: str = ""
    """Digest of the private CA, since an SSL context has no equality."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerPlan:
    """An issuer, but for its key set's start."""

    shape: IssuerShape
    source: IdentitySource
    keys: StaticKeys | RemotePlan
    material: str = ""
    """Digest of keys that are at hand; a changed file is another issuer's terms."""

    @property
    def terms(self) -> object:
        """Equal terms verify the same tokens in the same way."""
        remote = self.keys if isinstance(self.keys, RemotePlan) else None
        return (self.shape, self.source, self.material, remote)

    def issuer(self, keys: KeySet) -> Issuer:
        """The verifier's value. Raises Misconfigured for terms that do not go together."""
        shape = self.shape
        return Issuer(
            name=shape.issuer,
            issuer=shape.issuer,
            keys=keys,
            source=self.source,
            algorithms=frozenset(shape.algorithms),
            audiences=frozenset(shape.audience),
            clients=frozenset(shape.clients),
            types=frozenset(name.lower().removeprefix("application/") for name in shape.types or ()),
            leeway=shape.leeway,
            cognito=_COGNITO.fullmatch(shape.issuer) is not None,
        )


def plan_issuers(config: Config, schema: Schema | None, problems: list[Problem]) -> tuple[IssuerPlan, ...]:
    """Every issuer's plan. What is wrong is appended to `problems`, with its line."""
    plans: list[IssuerPlan] = []
    for index, shape in enumerate(config.shape.issuers):
        try:
            keys, material = _keys(config, shape)
            plan = IssuerPlan(shape=shape, source=_source(shape, schema), keys=keys, material=material)
            if isinstance(plan.keys, StaticKeys):
                plan.issuer(plan.keys)
            plans.append(plan)
        except Misconfigured as error:
            problems.extend(
                problem if problem.file else config.problem(("issuers", index), problem.message)
                for problem in error.problems
            )
    problems.extend(_same_names(config, plans))
    return tuple(plans)


def _same_names(config: Config, plans: Sequence[IssuerPlan]) -> Iterator[Problem]:
    """Issuers of which one could name the principals of another: by what their settings come to, not as written."""
    for position, plan in enumerate(plans):
        place = ("issuers", config.shape.issuers.index(plan.shape), "principal")
        for other in plans[:position]:
            mine, theirs = plan.source, other.source
            if mine.principal_type != theirs.principal_type:
                continue
            between = f"`{plan.shape.issuer}` and `{other.shape.issuer}`"
            if mine.prefix == theirs.prefix:
                text = f"tokens of {between} would name the same principals; give each its own `principal.prefix`"
                yield config.problem(place, text)
            elif _begins(mine, theirs) or _begins(theirs, mine):
                text = f"an id of one of {between} could be written so that it is one of the other's; prefix both"
                yield config.problem(place, text, severity="warning")


def _begins(one: IdentitySource, other: IdentitySource) -> bool:
    """Could an id of the issuer `one` begin with the prefix of `other`?"""
    return other.prefix is not None and (one.prefix is None or other.prefix.startswith(f"{one.prefix}|"))


def _wrong(message: str) -> Misconfigured:
    return Misconfigured((Problem(message=message),))


def _source(shape: IssuerShape, schema: Schema | None) -> IdentitySource:
    pool = _COGNITO.fullmatch(shape.issuer)
    prefix = shape.principal.prefix
    group_claim = None
    if shape.groups is not None:
        group_claim = shape.groups.claim or ("cognito:groups" if pool is not None else "groups")
    return IdentitySource(
        principal_type=shape.principal.type or _only_principal_type(schema),
        prefix=pool[1] if prefix is None and pool is not None else prefix,
        id_claim=shape.principal.claim,
        group_type=shape.groups.type if shape.groups is not None else None,
        group_claim=group_claim,
        token=shape.token,
    )


def _only_principal_type(schema: Schema | None) -> str:
    types = sorted(schema.principal_types()) if schema is not None else []
    if len(types) == 1:
        return types[0]
    found = f"the schema has {', '.join(f'`{name}`' for name in types)}" if types else "there is no schema to tell it"
    raise _wrong(f"`principal.type` is needed, for {found}")


def _keys(config: Config, shape: IssuerShape) -> tuple[StaticKeys | RemotePlan, str]:
    if shape.secret is not None:
        return StaticKeys.from_secret(shape.secret.encode()), ""
    if shape.keys is not None:
        return StaticKeys.from_jwks(json.dumps(shape.keys).encode()), ""
    if shape.jwks_file is not None:
        path = config.path(shape.jwks_file)
        text = _read(path, "jwks_file")
        pem = text.lstrip().startswith(b"-----BEGIN")
        keys = StaticKeys.from_pem(text, file=str(path)) if pem else StaticKeys.from_jwks(text, file=str(path))
        return keys, hashlib.sha256(text).hexdigest()
    return _remote(config, shape), ""


def _remote(config: Config, shape: IssuerShape) -> RemotePlan:
    context, authority = _authority(config, shape)
    return RemotePlan(
        source=KeySource(
            issuer=shape.issuer,
            jwks_uri=shape.jwks_uri,
            jwks_hosts=frozenset(shape.jwks_hosts),
            allow_http=shape.allow_http,
            ssl=context,
        ),
        interval=shape.refresh,
        cooldown=shape.cool_down,
        max_age=shape.max_age,
        authority=authority,
    )


def _authority(config: Config, shape: IssuerShape) -> tuple[ssl.SSLContext | None, str]:
    if shape.ca_file is None:
        return None, ""
    text = _read(config.path(shape.ca_file), "ca_file")
    try:
        context = ssl.create_default_context(cadata=text.decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError, ValueError):
        raise _wrong(f"`ca_file`: `{shape.ca_file}` holds no PEM certificates") from None
    return context, hashlib.sha256(text).hexdigest()


def _read(path: Path, setting: str) -> bytes:
    try:
        if path.stat().st_size > MAX_KEY_FILE:
            raise _wrong(f"`{setting}`: `{path}` is larger than {MAX_KEY_FILE} bytes")
        return path.read_bytes()
    except OSError as error:
        raise _wrong(f"`{setting}`: `{path}` cannot be read: {error.strerror}") from None
