"""What the configured authenticators yield, and whether routes and schema take it. Asked at load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Self

from authz.authn.api_keys import ApiKey
from authz.config.credentials import AuthenticatorShape
from authz.config.load import Config
from authz.core.cedar_schema import ActionDecl, Schema
from authz.core.errors import Problem
from authz.core.lookup import Source
from authz.core.mapping import Template
from authz.core.routes import Route
from authz.pdp.cedar_json import Misfit, project
from authz.wiring.api_key_file import KeyFile
from authz.wiring.authenticators import place_of
from authz.wiring.issuers import IssuerPlan

CERTIFICATE_HEADER = "x-forwarded-client-cert"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The authenticators by name, in order, and what each of them yields."""

    names: tuple[str, ...]
    token_types: frozenset[str]
    """Names of those that take tokens."""
    types: Mapping[str, frozenset[str]]
    """Entity types of the principals of the others."""
    places: Mapping[str, tuple[str, str]]
    """Authenticator → the header that it reads, and the scheme or the cookie in it; empty: all that is there."""
    issuers: frozenset[str]
    """All configured issuers, also those that could not be planned."""
    plans: tuple[IssuerPlan, ...]
    key_files: Mapping[str, KeyFile] = field(default_factory=dict)
    certificates: Mapping[str, tuple[str, Problem]] = field(default_factory=dict)
    """Authenticator → its entity type, and what to say where the schema has none of that name."""

    @classmethod
    def of(cls, config: Config, plans: tuple[IssuerPlan, ...], key_files: Mapping[str, KeyFile]) -> Self:
        """What a configuration's authenticators yield."""
        types: dict[str, frozenset[str]] = {}
        places = {one.name: _place(one) for one in config.shape.authenticators}
        certificates: dict[str, tuple[str, Problem]] = {}
        for index, one in enumerate(config.shape.authenticators):
            if one.api_keys is not None:
                keys = key_files[one.name].keys.values()
                types[one.name] = frozenset(key.principal.type for key in keys)
            elif one.client_certificate is not None:
                kind = one.client_certificate.type
                types[one.name] = frozenset({kind})
                text = f"authenticator `{one.name}`: the schema has no entity type `{kind}`"
                problem = config.problem(("authenticators", index, "client_certificate", "type"), text)
                certificates[one.name] = (kind, problem)
        return cls(
            names=tuple(one.name for one in config.shape.authenticators),
            token_types=frozenset(one.name for one in config.shape.authenticators if one.token is not None),
            types=types,
            places=places,
            issuers=frozenset(shape.issuer for shape in (*config.shape.issuers, *(plan.shape for plan in plans))),
            plans=plans,
            key_files=key_files,
            certificates=certificates,
        )

    def asked(self, route: Route) -> tuple[str, ...]:
        """The authenticators that a route asks, as far as there are such."""
        return tuple(name for name in route.authenticators if name in self.names) or self.names

    def takes_tokens(self, route: Route) -> bool:
        """Does a token count on this route?"""
        return not self.token_types.isdisjoint(self.asked(route))

    def route_problems(self, route: Route) -> Iterator[str]:
        """What is wrong with a route's authenticators and issuers."""
        for name in route.authenticators:
            if name not in self.names:
                known = ", ".join(f"`{one}`" for one in self.names)
                yield f"`{name[:64]}` is none of the configured authenticators; there are {known}"
        for name in sorted(route.issuers - self.issuers):
            yield f"`{name}` is none of the configured issuers"
        if not self.takes_tokens(route) and route.issuers:
            yield "`issuers` is of tokens, and none of the route's authenticators takes one"
        if not self.issuers and route.anonymous is None and self.token_types.issuperset(self.asked(route)):
            yield "no issuer is configured and the route has no `anonymous` principal: nobody can pass"
        yield from self._same_places(route)
        carrying = {header: name for name, (header, _) in self.places.items()}
        for name, _ in route.headers:
            if name in carrying:
                yield f"the header `{name}` carries the credential of `{carrying[name]}`; set another"
        for name in sorted(_headers_read(route) & carrying.keys()):
            yield f"`headers.{name}` is the credential of `{carrying[name]}`; read `principal.id` or a claim"

    def _same_places(self, route: Route) -> Iterator[str]:
        asked = self.asked(route)
        for position, name in enumerate(asked):
            header, inner = self.places[name]
            for other in asked[:position]:
                where, what = self.places[other]
                if where == header and (what == inner or not what or not inner):
                    yield f"`{other}` and `{name}` read the same place, so one is never asked; list one of them"

    def type_problems(self, route: Route, action: ActionDecl) -> Iterator[str]:
        """Principals that can come to the route, and that its action does not take.

        Tokens and what the route itself lists must fit. Of all others, which a route without a list asks too, one
        must: an action is rarely for every kind of caller, and the policies refuse those that it is not for.
        """
        others = frozenset(kind for name in self.asked(route) for kind in self.types.get(name, ()))
        anonymous = {route.anonymous.type} if route.anonymous is not None else set()
        strict = anonymous | (self._token_types(route) if self.takes_tokens(route) else set())
        if route.authenticators or strict.union(others).isdisjoint(action.principals):
            strict |= others
        for kind in sorted(strict - action.principals):
            yield f"`{route.action}` takes no principal of type `{kind}`"

    def _token_types(self, route: Route) -> set[str]:
        wanted = [plan for plan in self.plans if not route.issuers or plan.shape.issuer in route.issuers]
        return {plan.source.principal_type for plan in wanted}

    def schema_problems(self, schema: Schema) -> Iterator[Problem]:
        """Certificates' and keys' principals that the schema does not declare in this way."""
        for kind, problem in self.certificates.values():
            if kind not in schema.entities:
                yield problem
        for found in self.key_files.values():
            for key in found.keys.values():
                for text in _key_problems(key, schema):
                    yield Problem(message=f"the key `{key.id}`: {text}", file=found.file, line=found.lines[key.id])


def _place(one: AuthenticatorShape) -> tuple[str, str]:
    if one.api_keys is not None:
        return one.api_keys.header.lower(), ""
    if one.client_certificate is not None or one.token is None:
        return CERTIFICATE_HEADER, ""
    if one.token.cookie is not None:
        return "cookie", one.token.cookie
    header, scheme = place_of(one.token)
    return header, (scheme or "").lower()


def _key_problems(key: ApiKey, schema: Schema) -> Iterator[str]:
    kind = key.principal.type
    declared = schema.entities.get(kind)
    if declared is None:
        yield f"the schema has no entity type `{kind}`"
        return
    for parent in sorted({parent.type for parent in key.parents} - declared.member_of):
        yield f"the schema does not let `{kind}` be in `{parent}`"
    for name, value in key.attributes.items():
        if name not in declared.attributes:
            yield f"the schema declares no attribute `{name[:60]}` of `{kind}`"
            continue
        try:
            project(value, declared.attributes[name].type, name)
        except Misfit:
            yield f"the schema declares another type for the attribute `{name[:60]}`"


def _headers_read(route: Route) -> set[str]:
    """The headers that a route's mapping reads."""
    templates: list[Template] = [route.resource_id]
    templates += [template for _, template in (*route.resource_parents, *route.headers)]
    templates += [template for _, keys in route.information for _, template in keys]
    sources = [part for template in templates for part in template.parts if isinstance(part, Source)]
    sources += [attribute.source for attribute in route.attributes]
    return {name.lower() for kind, _, name in (source.name.partition(".") for source in sources) if kind == "headers"}
