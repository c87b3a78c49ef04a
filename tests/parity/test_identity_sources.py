"""Tokens are read here as Verified Permissions reads them: by each identity source, each token gives the same answer.

There is the emulator's `IsAuthorizedWithToken`, which is written from the user guide alone. Where the two differ on
purpose, the row says so, and so does docs/tokens.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.authn.jwt import MAX_TOKEN
from authz.authn.revocation import DenyList
from tests.authn.issuing import jwk, jwks, signed
from tests.emulator.running import Emulator, emulator_thread
from tests.parity.asking import REFUSED, Pair, token, usual
from tests.parity.store import BY_NAME, COGNITO, GROUP, OIDC, SOURCES, USER, Source
from tests.parity.tokens import EXCEPTIONS, MAIN, TERMS, VALUES, Row, cases, changes_for, expected

DOCS = Path(__file__).parents[2] / "docs" / "tokens.md"


class Pairs:
    """A policy store for each identity source, made when it is first asked for."""

    def __init__(self, emulator: Emulator, folder: Path) -> None:
        self.emulator = emulator
        self.folder = folder
        self._made: dict[str, Pair] = {}

    def of(self, source: Source) -> Pair:
        if source.name not in self._made:
            self._made[source.name] = Pair(self.emulator, source, self.folder)
        return self._made[source.name]

    def close(self) -> None:
        for pair in self._made.values():
            pair.close()


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pairs]:
    with _pairs(tmp_path_factory.mktemp("parity")) as made:
        yield made


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pairs]:
    with _pairs(tmp_path_factory.mktemp("strict"), strict_requests=True) as made:
        yield made


@contextmanager
def _pairs(folder: Path, **settings: Any) -> Iterator[Pairs]:
    keys = folder / "keys.json"
    keys.write_bytes(jwks(jwk("RS256"), jwk("ES256", kid="k2")))
    with emulator_thread(keys={issuer: str(keys) for issuer in (OIDC, COGNITO)}, **settings) as emulator:
        made = Pairs(emulator, folder)
        yield made
        made.close()


def _table(rows: tuple[Row, ...]) -> list[Any]:
    return [pytest.param(source, kind, row, id=f"{source.name}-{kind}-{row.name}") for source, kind, row in cases(rows)]


def _token(source: Source, kind: str, row: Row) -> str:
    return token(source, kind, changes_for(source, row.changes), row.header)


@pytest.mark.parametrize(("source", "kind", "row"), _table((*VALUES, *TERMS)))
def test_a_token_gives_the_same_answer(pairs: Pairs, source: Source, kind: str, row: Row):
    here, there = pairs.of(source).both(_token(source, kind, row))
    assert here == there
    assert (here == REFUSED) == row.refused
    if not row.refused:
        assert (here.outcome, here.kind, here.errors) == ("decided", kind, 0)
        assert here.policies >= expected(row.sees, kind)
        assert not here.policies & expected(row.not_, kind)


@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_every_identity_source_takes_its_tokens_and_no_others(pairs: Pairs, source: Source):
    pair = pairs.of(source)
    for kind in ("access", "id"):
        here, there = pair.both(token(source, kind, {}))
        assert here == there
        if kind in source.kinds:
            assert here.allowed == (True, True)
            assert here.principal == f'{USER}::"{source.prefix}{"|" if source.prefix else ""}{_person(source)}"'


def _person(source: Source) -> str:
    return "u@example.com" if source.id_claim == "email" else "u-1"


@pytest.mark.parametrize("forward", [False, True])
@pytest.mark.parametrize(("source", "kind", "row"), _table(tuple(row for row in VALUES if not row.refused)))
def test_every_decision_point_says_the_same(pairs: Pairs, source: Source, kind: str, row: Row, forward: bool):
    """Asked remotely, with the token or with what it stands for here, the store says what its replica says."""
    pair, text = pairs.of(source), _token(source, kind, row)
    assert pair.by_remote_point(text, forward=forward) == pair.here(text)


def test_the_replica_knows_the_principal_and_groups_of_the_store(pairs: Pairs):
    (issuer,) = pairs.of(BY_NAME["pool"]).verifier._issuers.values()
    assert (issuer.source.principal_type, issuer.source.group_type) == (USER, GROUP)
    assert issuer.source.token == "either"


@pytest.mark.parametrize("name", MAIN)
def test_a_service_that_checks_requests_gives_the_same_answer(strict: Pairs, name: str):
    """Whether Verified Permissions holds requests against the schema is not known. If it does, no answer changes."""
    pair = strict.of(BY_NAME[name])
    rows = [one for one in cases((*VALUES, *EXCEPTIONS)) if one[0].name == name]
    for source, kind, row in rows:
        here, there = pair.both(_token(source, kind, row))
        if row.differs == "claims of another type":
            assert (here.outcome, there.outcome) == ("failed", "refused"), row.name
        # The emulator cuts claims to the schema at the outermost level only, and then checks all of them.
        elif not row.differs and row.name != "record with more":
            assert here == there, row.name


# --- where they differ on purpose --------------------------------------------------------------------------


@pytest.mark.parametrize(("source", "kind", "row"), _table(EXCEPTIONS))
def test_where_it_is_otherwise_here_that_is_written_down(pairs: Pairs, source: Source, kind: str, row: Row):
    here, there = pairs.of(source).both(_token(source, kind, row))
    assert here != there, "they do not differ any more; move the row to the others"
    assert (here == REFUSED) == row.refused
    if here.outcome == "decided":
        assert not here.policies & expected(row.not_, kind)
    assert f"| {row.differs} |" in DOCS.read_text(), "docs/tokens.md lists every difference"


ELSEWHERE = {"claims that the schema does not declare", "algorithms", "long tokens", "revoked tokens", "two tokens"}
"""Differences that are no row of the table, but tests below, and settings of the verifier."""


def test_no_difference_is_listed_that_there_is_not():
    rows = DOCS.read_text().partition("### Where authz differs")[2].partition("\n## ")[0]
    listed = {line.split("|")[1].strip() for line in rows.splitlines() if line.startswith("| ")} - {"what"}
    assert listed == {row.differs for row in EXCEPTIONS} | ELSEWHERE


def test_an_algorithm_that_is_not_configured_is_refused_here(pairs: Pairs):
    source = BY_NAME["access"]
    text = signed(usual(source, "access"), alg="ES256", header={"kid": "k2"})
    here, there = pairs.of(source).both(text)
    assert here == REFUSED
    assert there.outcome == "decided"


def test_a_long_or_revoked_token_is_refused_here(pairs: Pairs):
    source = BY_NAME["access"]
    pair = pairs.of(source)
    long = token(source, "access", {"note": "x" * MAX_TOKEN})
    assert (pair.here(long), pair.there(long, "access").outcome) == (REFUSED, "decided")
    revoked = token(source, "access", {"jti": "t-1"})
    assert pair.here(revoked) == pair.there(revoked, "access")
    pair.verifier.deny_list = DenyList.parse("jti: [t-1]")
    try:
        assert (pair.here(revoked), pair.there(revoked, "access").outcome) == (REFUSED, "decided")
    finally:
        pair.verifier.deny_list = DenyList()


def test_claims_that_the_schema_does_not_declare_are_left_out_here(pairs: Pairs):
    """Whether Verified Permissions keeps them is not known; a policy that reads one cannot be stored in STRICT mode."""
    source = BY_NAME["id"]
    pair = Pair(pairs.emulator, source, pairs.folder, mode="OFF", more={"nickname": NICKNAME})
    here, there = pair.both(token(source, "id", {"nickname": "bob"}))
    pair.close()
    assert there.policies - here.policies == {"nickname"}
    assert here.policies - there.policies == set()


NICKNAME = 'permit(principal, action == App::Action::"read", resource) when { principal has nickname };'


# --- drawn claims ------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp")), max_size=8)
WORDS = st.lists(TEXT.filter(bool), max_size=4)
LONG = st.integers(-(2**63), 2**63 - 1) | st.just(7)
ODD = st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.just(2**70)
ADDRESS = st.fixed_dictionaries(
    {},
    optional={
        "city": st.just("Köln") | TEXT | ODD,
        "zip": LONG | ODD,
        "tags": WORDS | st.just(["home"]),
        "__entity": st.just({"type": USER, "id": "admin"}),
        "more": st.recursive(
            ODD | TEXT | LONG, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=6
        ),
    },
)
GROUPED = (
    WORDS | st.lists(st.sampled_from(["staff", "night shift", "banned"])) | st.sampled_from([..., None, [], 7, [7]])
)
SCOPES = st.sampled_from(["read write", "read", "", "a  b", None])
CLAIMS = st.fixed_dictionaries(
    {},
    optional={
        "sub": st.just("u-1") | TEXT | st.sampled_from([..., None, "zoë 😀"]),
        "email": st.just("u@example.com") | TEXT | ODD,
        "email_verified": st.booleans() | st.none(),
        "level": LONG | ODD,
        "roles": WORDS | st.just(["editor"]) | st.lists(ODD | st.just("editor")) | ODD,
        "matrix": st.lists(st.lists(LONG | ODD, max_size=3), max_size=3) | st.just([[1, 2]]),
        "address": ADDRESS | ODD,
        "suspended": st.booleans() | ODD,
        "custom:department": st.just("hr") | TEXT,
        "custom": st.just("x") | st.none(),
        "straße": TEXT,
        "anything": st.recursive(ODD | TEXT | LONG | st.booleans(), st.lists, max_leaves=6),
        "client_id": st.sampled_from(["web", "app", "api", "evil"]),
        "aud": st.sampled_from(["web", "api", "evil", ["api", "web"], [], ...]),
        "token_use": st.sampled_from(["access", "id", "refresh", ...]),
    },
)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_any_claims_give_the_same_answer(pairs: Pairs, data: st.DataObject):
    source = data.draw(st.sampled_from(SOURCES))
    kind = data.draw(st.sampled_from(("access", "id")))
    changes = data.draw(CLAIMS)
    groups = data.draw(GROUPED)
    # Claims of another type than the schema declares are a difference with a name of its own: groups as text, and a
    # scope that is a list where the token becomes one of the other kind.
    changes |= {source.groups: groups} if source.groups and groups is not ... else {}
    surely_access = "id" not in source.kinds or (
        kind == "access" and "token_use" not in changes and len(source.kinds) == 2
    )
    scopes = SCOPES | WORDS if surely_access else SCOPES
    changes |= data.draw(st.fixed_dictionaries({}, optional={"scope": scopes}))
    changes |= {"cid": "api"} if data.draw(st.booleans()) and "client_id" not in changes else {}
    pair, text = pairs.of(source), token(source, kind, changes)
    here, there = pair.both(text)
    assert here == there
    assert here == pair.by_remote_point(text, forward=data.draw(st.booleans()))
