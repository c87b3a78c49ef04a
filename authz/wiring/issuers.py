"""Issuers as configured → the verifier's values; what can be read now is read, what is remote is planned."""

from __future__ import annotations

import hashlib
import json
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
from authz.config.yaml_text import Place
from authz.core.cedar_schema import Schema
from authz.core.claims import IdentitySource
from authz.core.errors import Misconfigured, Problem
from authz.core.identity_source import StoreIdentitySource
from authz.wiring.issuer_terms import IssuerTerms, configured_terms, contradictions, merged_terms, terms_faults

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

    settings: IssuerTerms
    source: IdentitySource
    keys: StaticKeys | RemotePlan
    place: Place = ("issuers",)
    """Where it is configured; an issuer that only the policy store names has no place of its own."""
    material: str = ""
    """Digest of keys that are at hand; a changed file is another issuer's terms."""

    @property
    def shape(self) -> IssuerShape:
        """Its settings, those of the policy store's identity source among them."""
        return self.settings.shape

    @property
    def terms(self) -> object:
        """Equal terms verify the same tokens in the same way."""
        remote = self.keys if isinstance(self.keys, RemotePlan) else None
        return (self.settings, self.source, self.material, remote)

    def issuer(self, keys: KeySet) -> Issuer:
        """The verifier's value. Raises Misconfigured for terms that do not go together."""
        shape = self.shape
        if not shape.audience and not shape.any_audience:  # to the verifier, none means any
            raise _wrong(f"issuer `{shape.issuer}`: `audience` is empty")
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
            cognito=self.settings.user_pool is not None,
            client_as_audience=self.settings.client_as_audience,
        )


def plan_issuers(
    config: Config,
    schema: Schema | None,
    problems: list[Problem],
    identity_source: StoreIdentitySource | None = None,
) -> tuple[IssuerPlan, ...]:
    """Every issuer's plan: those configured, and that of the policy store's identity source.

    What is wrong is appended to `problems`, with its line; plans count only if that is nothing. An issuer with terms
    that cannot count has one too where it can be made, so that what else does not fit is told with it.
    """
    plans: list[IssuerPlan] = []
    for place, shape in _wanted(config, identity_source):
        store = identity_source if identity_source is not None and identity_source.issuer == shape.issuer else None
        try:
            plans.append(_plan(config, place, shape, store, schema, problems))
        except Misconfigured as error:
            problems.extend(
                problem if problem.file else config.problem(place, problem.message) for problem in error.problems
            )
    problems.extend(_same_names(config, plans))
    return tuple(plans)


def _wanted(config: Config, identity_source: StoreIdentitySource | None) -> Iterator[tuple[Place, IssuerShape]]:
    """Each issuer and its place; one that only the policy store names is as if it were configured without settings."""
    for index, shape in enumerate(config.shape.issuers):
        yield ("issuers", index), shape
    if identity_source is not None and all(shape.issuer != identity_source.issuer for shape in config.shape.issuers):
        yield ("issuers",), IssuerShape(issuer=identity_source.issuer)


def _plan(
    config: Config,
    place: Place,
    shape: IssuerShape,
    store: StoreIdentitySource | None,
    schema: Schema | None,
    problems: list[Problem],
) -> IssuerPlan:
    faults = [*contradictions(shape, store)] if store is not None else []
    terms = merged_terms(shape, store) if store is not None else configured_terms(shape)
    faults = faults or [*terms_faults(terms, store)]
    problems.extend(config.problem((*place, *inner), text) for inner, text in faults)
    keys, material = _keys(config, terms.shape)
    source = terms.source(terms.shape.principal.type or _only_principal_type(schema))
    plan = IssuerPlan(settings=terms, source=source, keys=keys, material=material, place=place)
    told = bool(faults) or not (plan.shape.audience or plan.shape.any_audience)
    if isinstance(plan.keys, StaticKeys) and not told:
        plan.issuer(plan.keys)
    return plan


def _same_names(config: Config, plans: Sequence[IssuerPlan]) -> Iterator[Problem]:
    """Issuers of which one could name the principals of another: by what their settings come to, not as written."""
    for position, plan in enumerate(plans):
        place = (*plan.place, "principal")
        for other in plans[:position]:
            mine, theirs = plan.source, other.source
            between = f"`{plan.shape.issuer}` and `{other.shape.issuer}`"
            if mine.principal_type != theirs.principal_type:
                alike = mine.prefix == theirs.prefix or _begins(mine, theirs) or _begins(theirs, mine)
                if alike and mine.group_type is not None and mine.group_type == theirs.group_type:
                    text = (
                        f"a group of one of {between} could be one of the other's: both are of the type "
                        f"`{mine.group_type}`; give each its own `principal.prefix`, or another type"
                    )
                    yield config.problem(place, text, severity="warning")
            elif mine.prefix == theirs.prefix:
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
