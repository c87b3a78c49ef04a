"""Tokens of every form: what changes in the usual claims, and what policies see of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.parity.store import BY_NAME, Source

AGO = "(ten seconds ago)"
GROUPS = "(groups)"
"""Stands for the claim in which a source's tokens have their groups."""
ID = "(id)"
"""Stands for the claim that names the principal."""
LATER, LONG_AGO = 4_000_000_000, 1_000_000_000
MAIN = ("pool", "access", "id")
"""The sources that are asked about every value."""
OIDC = ("access", "access-by-uid", "id", "id-by-email")
REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One token, for some sources."""

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[str, ...] = MAIN
    kinds: tuple[str, ...] = ("access", "id")
    header: Mapping[str, Any] | None = None
    sees: frozenset[str] = frozenset()
    """Policies that match; `*` stands for `p` (ID tokens) or `t` (access tokens)."""
    not_: frozenset[str] = frozenset()
    """Policies that do not."""
    refused: bool = False
    differs: str = ""
    """Here it is otherwise than there, for the reason of this name (docs/tokens.md)."""


def row(name: str, changes: Mapping[str, Any], *expected: str, **more: Any) -> Row:
    """A row. `-NAME` is a policy that must not match, `refused` a token that must not count."""
    sees = frozenset(one for one in expected if one != REFUSED and not one.startswith("-"))
    not_ = frozenset(one[1:] for one in expected if one.startswith("-"))
    return Row(name=name, changes=changes, sees=sees, not_=not_, refused=REFUSED in expected, **more)


_ACCESS: dict[str, Any] = {"kinds": ("access",)}
_ID: dict[str, Any] = {"kinds": ("id",)}
_POOL: dict[str, Any] = {"sources": ("pool",)}
_CONNECT: dict[str, Any] = {"sources": OIDC}
_HOSTILE = {"type": "App::User", "id": "admin"}

VALUES = (
    row("usual", {}, "is-usual", "is-bare", sources=("access-bare", "id-bare", "access-of-a-pool")),
    row("prefixed", {}, "is-usual", "-is-bare", sources=("pool", "pool-without-groups", "pool-for-anybody", "access")),
    row("by e-mail", {}, "is-email", "-is-usual", sources=("id-by-email",)),
    row("by another claim", {"sub": "other"}, "is-usual", sources=("access-by-uid",)),
    row("sub", {}, "*-sub"),
    row("context", {}, "t-any", **_ACCESS),
    row("no context", {}, "-t-any", **_ID),
    row("text", {"email": "u@example.com"}, "*-email"),
    row("other text", {"email": "U@example.com"}, "-*-email"),
    row("empty text", {"email": ""}, "-*-email"),
    row("no value", {"email": None, "level": None, "roles": None, "address": None}, "-*-email", "-*-no-editor"),
    row("true", {"email_verified": True}, "*-verified"),
    row("false", {"email_verified": False}, "-*-verified"),
    row("number", {"level": 7}, "*-level"),
    row("other number", {"level": -7}, "-*-level"),
    row("fraction", {"level": 7.5}, "-*-level"),
    row("exponent", {"level": 7e0}, "-*-level"),
    row("largest number", {"level": 2**63 - 1}, "-*-level"),
    row("number beyond", {"level": 2**63}, "-*-level"),
    row("set", {"roles": ["editor", "viewer"]}, "*-roles", "-*-no-editor"),
    row("set of other", {"roles": ["viewer"]}, "-*-roles", "*-no-editor"),
    row("empty set", {"roles": []}, "-*-roles", "*-no-editor"),
    row("set with null", {"roles": [None, "editor"]}, "*-roles"),
    row("set with fractions", {"roles": [1.5, "editor"]}, "*-roles"),
    row("sets in a set", {"matrix": [[1, 2], [3]]}, "*-matrix"),
    row("record", {"address": {"city": "Köln", "zip": 50667}}, "*-city", "-*-no-city"),
    row("record without", {"address": {"zip": 50667}}, "-*-city", "*-no-city"),
    row("empty record", {"address": {}}, "*-no-city"),
    row("record with null", {"address": {"city": None}}, "*-no-city"),
    row("record with more", {"address": {"city": "Köln", "planet": {"name": "Earth"}}}, "*-city"),
    row("set in a record", {"address": {"tags": ["home", None]}}, "*-tags", "*-no-city"),
    row("colon in the name", {"custom:department": "hr"}, "*-department"),
    row("unicode", {"straße": "weg😀"}, "*-street"),
    row("entity", {"address": {"__entity": _HOSTILE}}, "-*-city", "-*-no-city"),
    row("extension", {"address": {"city": "Köln", "__extn": {"fn": "ip", "arg": "::1"}}}, "-*-city", "-*-no-city"),
    row("claim as an entity", {"__entity": _HOSTILE, "__extn": 1, "__expr": "1", "level": 7}, "*-level"),
    row("cognito", {"cognito": "x", "custom": 1, "dev": []}, "*-sub"),
    row("suspended", {"suspended": True}, "*-suspended", "-any-delete"),
    row("not suspended", {"suspended": False}, "any-delete"),
    # --- scope
    row("scopes", {"scope": "read write"}, "t-scope", "t-scopes", "-t-scope-text", "-p-scope", **_ACCESS),
    row("scopes of an ID token", {"scope": "read write"}, "p-scope", "-t-scope", **_ID),
    row("one scope", {"scope": "read"}, "t-scope", "-t-scopes", **_ACCESS),
    row("spaces between scopes", {"scope": " read   write "}, "t-scopes", **_ACCESS),
    row("tab between scopes", {"scope": "read\twrite"}, "-t-scope", **_ACCESS),
    row("no scopes", {"scope": ""}, "-t-scope", **_ACCESS),
    row("null as scope", {"scope": None}, "-t-scope", **_ACCESS),
    row("list of scopes", {"scope": ["read", "write"]}, "t-scopes", **_ACCESS),
    row("scope with a space", {"scope": ["read write"]}, "t-scope-text", "-t-scope", **_ACCESS),
    # --- groups
    row("groups", {GROUPS: ["staff", "night shift"]}, "in-staff", "in-night-shift", "-in-night", "-in-bare"),
    row("groups, bare", {GROUPS: ["staff"]}, "in-staff", "in-bare", sources=("id-bare", "access-of-a-pool")),
    row("groups, not mapped", {"cognito:groups": ["staff"]}, "-in-staff", sources=("pool-without-groups",)),
    row("groups, not mapped either", {"groups": ["staff"]}, "-in-staff", sources=("access-bare", "pool")),
    row("groups of an ID token", {"cognito:groups": ["staff"]}, "-p-cognito-groups", **_ID),
    row("groups of an access token", {"cognito:groups": ["staff"]}, "t-cognito-groups", **_ACCESS),
    row("one group", {GROUPS: "staff"}, "in-staff", **_CONNECT),
    row("groups as text", {GROUPS: "staff night"}, "in-staff", "in-night", "-in-night-shift", **_CONNECT),
    row("spaces between groups", {GROUPS: "  staff   night "}, "in-staff", "in-night", **_CONNECT),
    row("space that is none", {GROUPS: "staff\u00a0night"}, "-in-staff", **_CONNECT),
    row("empty text as groups", {GROUPS: ""}, "-in-staff", **_CONNECT),
    row("group in a record", {"realm_access": {"roles": ["staff"]}}, "-in-staff", sources=("id-by-email",)),
    row("no groups", {GROUPS: []}, "-in-staff"),
    row("null as groups", {GROUPS: None}, "-in-staff"),
    row("group twice", {GROUPS: ["staff", "staff"]}, "in-staff"),
    row("forbidden group", {GROUPS: ["staff", "banned"]}, "in-staff", "banned"),
    row("99 groups", {GROUPS: [f"g{n}" for n in range(98)] + ["staff"]}, "in-staff"),
    row("100 groups", {GROUPS: [f"g{n}" for n in range(99)] + ["staff"]}, REFUSED),
    *(
        row(f"odd groups {odd!r}", {GROUPS: odd}, REFUSED)
        for odd in (7, True, {"a": 1}, ["staff", 7], ["staff", None], ["staff", ""], [["staff"]], ["x" * 613])
    ),
    # --- the principal
    row("unicode in the id", {ID: "zoë 😀"}, "is-unicode"),
    *(
        row(f"odd id {odd!r}"[:30], {ID: odd}, REFUSED)
        for odd in (..., "", None, 7, True, ["u-1"], {"a": 1}, "x" * 613)
    ),
    row("id that the prefix makes too long", {ID: "x" * 612}, REFUSED),
    row("longest id", {"sub": "x" * 612}, sources=("access-bare", "id-bare")),
    *(row(f"{name} and {name}:", {name: "x", f"{name}:a": "y"}, REFUSED) for name in ("cognito", "custom", "dev")),
)

TERMS = (
    # --- kind
    row("unknown use", {"token_use": "refresh"}, REFUSED, **_POOL),
    row("no use", {"token_use": ...}, REFUSED, **_POOL),
    row("use of another form", {"token_use": ["access", "id"]}, REFUSED, **_POOL),
    row("use as its kind, access", {"token_use": "access"}, sources=("access", "access-of-a-pool")),
    row("use as its kind, ID", {"token_use": "id"}, sources=("id",)),
    row("use of another kind, access", {"token_use": "id"}, REFUSED, sources=("access", "access-of-a-pool")),
    row("use of another kind, ID", {"token_use": "access"}, REFUSED, sources=("id",)),
    row("use that is none", {"token_use": "refresh"}, sources=("access", "id")),
    # --- audience
    row("other client", {"client_id": "evil"}, REFUSED, **_POOL, **_ACCESS),
    row("no client", {"client_id": ...}, REFUSED, **_POOL, **_ACCESS),
    row("audience, but no client", {"client_id": ..., "aud": "web"}, REFUSED, **_POOL, **_ACCESS),
    row("second client", {"client_id": "app"}, **_POOL, **_ACCESS),
    row("client, but no audience", {"aud": ..., "client_id": "web"}, REFUSED, sources=("pool", "id"), **_ID),
    row("other audience", {"aud": "evil"}, REFUSED, sources=("access", "id", "id-bare", "access-of-a-pool")),
    row("no audience", {"aud": ...}, REFUSED, sources=("access", "id")),
    row("audience of a client", {"aud": "evil", "client_id": "api", "cid": "api"}, REFUSED, sources=("access",)),
    row("one of the audiences", {"aud": ["evil", "batch"]}, sources=("access",)),
    row("one of the clients", {"aud": ["evil", "app"]}, sources=("id",)),
    row("no member", {"aud": []}, REFUSED, sources=("access", "id")),
    row("null", {"aud": None, "client_id": "api"}, REFUSED, sources=("access", "id")),
    row("number", {"aud": 7}, REFUSED, sources=("access", "id")),
    row("cid", {"aud": ..., "cid": "api"}, sources=("access", "access-of-a-pool")),
    row("client_id", {"aud": ..., "client_id": "api"}, sources=("access", "access-of-a-pool")),
    row("other cid", {"aud": ..., "cid": "evil"}, REFUSED, sources=("access",)),
    row("azp", {"aud": ..., "azp": "api"}, REFUSED, sources=("access", "id")),
    row("cid of an ID token", {"aud": ..., "cid": "web"}, REFUSED, sources=("id",)),
    row("anybody", {"aud": "else"}, sources=("access-for-anybody", "id-for-anybody")),
    row("nobody", {"aud": ...}, sources=("access-for-anybody", "id-for-anybody")),
    row("any client", {"client_id": "else"}, sources=("pool-for-anybody",), **_ACCESS),
    # --- time, issuer, signature
    row("expired", {"exp": LONG_AGO}, REFUSED),
    row("without end", {"exp": ...}, REFUSED),
    row("end as text", {"exp": "4000000000"}, REFUSED),
    row("null as end", {"exp": None}, REFUSED),
    row("end with a fraction", {"exp": LATER + 0.5}),
    row("not yet", {"nbf": LATER}, REFUSED),
    row("begin as text", {"nbf": "0"}, REFUSED),
    row("null as begin", {"nbf": None}, REFUSED),
    row("begun", {"nbf": LONG_AGO}),
    row("other issuer", {"iss": "https://evil.example.com"}, REFUSED),
    row("issuer with a slash", {"iss": "https://login.example.com/"}, REFUSED),
    row("no issuer", {"iss": ...}, REFUSED),
    row("issuer as a list", {"iss": ["https://login.example.com"]}, REFUSED),
    row("no signature", {}, REFUSED, header={"alg": "none"}),
    row("key unknown", {}, REFUSED, header={"kid": "k9"}),
    row("no key id", {}, header={"kid": None}),
    row("critical", {}, REFUSED, header={"crit": ["exp"]}),
    row("other algorithm", {}, REFUSED, header={"alg": "RS512"}),
    row("no type", {}, header={"typ": None}),
)

EXCEPTIONS = (
    row("clocks", {"exp": AGO}, differs="clocks"),
    row("issued later", {"iat": LATER}, REFUSED, differs="issued in the future"),
    row("date beyond", {"exp": 2**60}, REFUSED, differs="dates beyond 2^53"),
    row("endless", {"exp": 10**400}, REFUSED, differs="dates beyond 2^53"),
    row("line break in the id", {ID: "u\n1"}, REFUSED, differs="control characters"),
    row("NUL in a group", {GROUPS: ["st\x00aff"]}, REFUSED, differs="control characters"),
    row("groups elsewhere", {GROUPS: ..., "_claim_names": {GROUPS: "src1"}}, REFUSED, differs="distributed groups"),
    row("number as jti", {"jti": 7}, REFUSED, differs="`sub` and `jti`"),
    row("number as sub", {"sub": 7}, REFUSED, differs="`sub` and `jti`", sources=("access-by-uid", "id-by-email")),
    row("logout token", {}, REFUSED, header={"typ": "logout+jwt"}, differs="header types"),
    row("type of a number", {}, REFUSED, header={"typ": 7}, differs="header types"),
    row(
        "two clients",
        {"aud": ..., "cid": "api", "client_id": "evil"},
        REFUSED,
        differs="audiences",
        sources=("access",),
    ),
    row("list of clients", {"client_id": ["web"]}, REFUSED, differs="audiences", **_POOL, **_ACCESS),
    row("odd audience", {"aud": ["api", "web", 7]}, REFUSED, differs="audiences", sources=("access", "id")),
    row("number for text", {"email": 7}, differs="claims of another type", sources=("pool", "access", "id")),
    row("text for a number", {"level": "7"}, differs="claims of another type"),
    row("text for a set", {"roles": "editor"}, differs="claims of another type"),
    row("text for a set in a set", {"roles": ["editor", ["x"]]}, differs="claims of another type"),
    row("more than 1000", {"roles": ["editor", *map(str, range(1000))]}, "-*-roles", differs="large values"),
    row("tab between groups", {GROUPS: "staff\tnight"}, REFUSED, differs="control characters", **_CONNECT),
)


def cases(rows: tuple[Row, ...]) -> Iterator[tuple[Source, str, Row]]:
    """Every row for every source and kind of token that it is about."""
    for one in rows:
        for name in one.sources:
            source = BY_NAME[name]
            for kind in source.kinds:
                if kind in one.kinds:
                    yield source, kind, one


def changes_for(source: Source, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The changes, with the source's own names of claims."""
    told = {GROUPS: source.groups or "groups", ID: source.id_claim}
    named = {told.get(name, name): value for name, value in changes.items()}
    if named.get("exp") == AGO:
        named["exp"] = int(time.time()) - 10
    if isinstance(elsewhere := named.get("_claim_names"), dict):
        named["_claim_names"] = {told.get(name, name): value for name, value in elsewhere.items()}
    return named


def expected(names: frozenset[str], kind: str) -> set[str]:
    """Policies' names, for tokens of that kind."""
    return {name.replace("*", "t" if kind == "access" else "p") for name in names}
