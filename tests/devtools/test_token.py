"""`authz token` says of a token what the verifier says, and where it ended."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz import cli
from authz.authn.issuer import Issuer
from authz.authn.jwks import StaticKeys
from authz.authn.jwt import TokenVerifier
from authz.authn.revocation import DenyList
from authz.core.cedar_schema import load_schema
from authz.core.claims import value_from_json
from authz.core.errors import AuthzError, Reason
from authz.core.model import Identity
from authz.devtools.token_examine import NAMES, Examination, examine
from authz.devtools.token_words import distance, moment, printable, told
from authz.devtools.token_yield import seen_by_policies, unsayable
from tests.authn.issuing import ISSUER, NOW, SECRET, b64, bearing, claims, issuer, jwk, signed, source, static, tokens
from tests.authn.key_server import KeyServer

DENIED = DenyList(subjects=frozenset({("", "mallory")}), tokens=frozenset({(ISSUER, "t-1")}))
COGNITO = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_POOL"


def verdict(token: str, *issuers: Issuer, max_token: int = 16_384) -> tuple[Identity | None, Reason | None]:
    """What requests with this token meet."""
    authenticator = tokens(*issuers, deny_list=DENIED, now=lambda: NOW, max_token=max_token)
    try:
        return asyncio.run(authenticator.authenticate(bearing(token))), None
    except AuthzError as error:
        return None, error.reason


def examined(token: str, *issuers: Issuer, max_token: int = 16_384) -> Examination:
    return asyncio.run(examine(token, issuers, now=NOW, deny_list=DENIED, max_token=max_token))


def agreed(token: str, *issuers: Issuer, **limits: int) -> Examination:
    """The examination, held against the verifier."""
    given_issuers = issuers or (issuer(),)
    found = examined(token, *given_issuers, **limits)
    identity, reason = verdict(token, *given_issuers, **limits)
    assert (found.identity is not None) == (identity is not None)
    assert (found.error.reason if found.error is not None else None) is reason
    failing = found.failing
    assert (failing.reason if failing is not None else None) is reason
    assert [check.name for check in found.checks] == list(NAMES)  # none is missing, and none is the verifier's alone
    reached = [check.state != "not reached" for check in found.checks]
    assert reached == sorted(reached, reverse=True)  # what was not reached stands at the end
    if identity is not None and found.identity is not None:
        assert all(check.state == "holds" for check in found.checks)
        assert (found.identity.principal, found.identity.claims) == (identity.principal, identity.claims)
    return found


def failing(found: Examination) -> list[tuple[str, Reason | None]]:
    return [(check.name, check.reason) for check in found.checks if check.state == "fails"]


# --- the table: each fault is told at its check -----------------------------------------------------------

HEAD, BODY, SIGN = signed().split(".")
EITHER = {"cognito": True, "source": source(token="either")}
GROUPS = source(group_type="App::Group", group_claim="groups")


@pytest.mark.parametrize(
    ("token", "name", "reason"),
    [
        ("x" * 20_000, "size", Reason.TOKEN_TOO_LARGE),
        ("abc", "form", Reason.TOKEN_MALFORMED),
        ("ä.b.c", "form", Reason.TOKEN_MALFORMED),
        (f"{HEAD}.{BODY}", "form", Reason.TOKEN_MALFORMED),
        (f"{HEAD}.{BODY}.{SIGN}.{SIGN}.{SIGN}", "form", Reason.TOKEN_MALFORMED),
        (f"{HEAD}.{b64(b'[]')}.{SIGN}", "form", Reason.TOKEN_MALFORMED),
        (signed(b'{"iss": 1, "iss": 2}'), "form", Reason.TOKEN_MALFORMED),
        (signed(claims(iss="https://evil.example")), "issuer", Reason.TOKEN_ISSUER),
        (signed(claims(iss=None)), "issuer", Reason.TOKEN_ISSUER),
        (signed(claims(iss=["a"])), "issuer", Reason.TOKEN_ISSUER),
        (signed(header={"crit": ["exp"]}), "crit", Reason.TOKEN_CRITICAL),
        (signed(header={"b64": False}), "crit", Reason.TOKEN_CRITICAL),
        (signed(header={"alg": "none"}), "alg", Reason.TOKEN_ALGORITHM),
        (signed(header={"alg": None}), "alg", Reason.TOKEN_ALGORITHM),
        (signed(header={"typ": "logout+jwt"}), "typ", Reason.TOKEN_TYPE),
        (signed(header={"typ": 7}), "typ", Reason.TOKEN_TYPE),
        (signed(header={"kid": 7}), "kid", Reason.TOKEN_MALFORMED),
        (signed(header={"kid": "k9"}), "key", Reason.TOKEN_KEY_UNKNOWN),
        (signed(name="second"), "signature", Reason.TOKEN_SIGNATURE),
        (f"{HEAD}.{BODY}.", "signature", Reason.TOKEN_SIGNATURE),
        (signed(claims(exp=None)), "exp", Reason.TOKEN_CLAIMS),
        (signed(claims(exp="soon")), "exp", Reason.TOKEN_CLAIMS),
        (signed(claims(exp=NOW - 3600)), "exp", Reason.TOKEN_EXPIRED),
        (signed(claims(nbf=NOW + 3600)), "nbf", Reason.TOKEN_NOT_YET_VALID),
        (signed(claims(nbf=[])), "nbf", Reason.TOKEN_CLAIMS),
        (signed(claims(iat=NOW + 3600)), "iat", Reason.TOKEN_NOT_YET_VALID),
        (signed(claims(sub=7)), "sub", Reason.TOKEN_CLAIMS),
        (signed(claims(jti=7)), "jti", Reason.TOKEN_CLAIMS),
        (signed(claims(token_use="id")), "token_use", Reason.TOKEN_TYPE),
        (signed(claims(aud="other")), "aud", Reason.TOKEN_AUDIENCE),
        (signed(claims(aud=None)), "aud", Reason.TOKEN_AUDIENCE),
        (signed(claims(sub=None)), "principal", Reason.TOKEN_CLAIMS),
        (signed(claims(sub="mallory")), "deny list", Reason.TOKEN_REVOKED),
        (signed(claims(jti="t-1")), "deny list", Reason.TOKEN_REVOKED),
        (signed(), None, None),
        (signed(claims(jti="t-2"), header={"typ": "at+jwt", "kid": None}), None, None),
    ],
)
def test_a_fault_is_told_at_its_check(token: str, name: str | None, reason: Reason | None):
    found = agreed(token)
    assert failing(found) == ([(name, reason)] if name is not None else [])


@pytest.mark.parametrize(
    ("changes", "payload", "name", "reason"),
    [
        ({"clients": frozenset({"web"})}, claims(azp="mobile"), "clients", Reason.TOKEN_AUDIENCE),
        ({"clients": frozenset({"web"})}, claims(), "clients", Reason.TOKEN_AUDIENCE),
        ({"clients": frozenset({"web"})}, claims(azp="web"), None, None),
        ({"audiences": frozenset()}, claims(aud="other"), None, None),
        ({"leeway": 0.0}, claims(exp=NOW), "exp", Reason.TOKEN_EXPIRED),
        ({"leeway": 30.0}, claims(exp=NOW - 29), None, None),
        ({"source": GROUPS}, claims(groups=7), "principal", Reason.TOKEN_CLAIMS),
        ({"source": GROUPS}, claims(groups="a b"), None, None),
        ({"source": source(token="id")}, claims(token_use="access"), "token_use", Reason.TOKEN_TYPE),
        ({"cognito": True}, claims(client_id="api"), "token_use", Reason.TOKEN_TYPE),
        ({"cognito": True}, claims(token_use="access"), "aud", Reason.TOKEN_AUDIENCE),
        ({"cognito": True}, claims(token_use="access", client_id="api", aud=None), None, None),
        (EITHER, claims(token_use="access", client_id="api", aud=None), None, None),
        (EITHER, claims(token_use="id"), None, None),
        (EITHER, claims(token_use="id", aud="other"), "aud", Reason.TOKEN_AUDIENCE),
        (EITHER, claims(token_use="access"), "aud", Reason.TOKEN_AUDIENCE),
        (EITHER, claims(client_id="api"), "token_use", Reason.TOKEN_TYPE),
        (EITHER, claims(token_use="refresh", client_id="api"), "token_use", Reason.TOKEN_TYPE),
        ({"client_as_audience": True}, claims(aud=None, cid="api"), None, None),
        ({"client_as_audience": True}, claims(aud=None, cid="other"), "aud", Reason.TOKEN_AUDIENCE),
        ({"types": frozenset({"special"})}, claims(), "typ", Reason.TOKEN_TYPE),
    ],
)
def test_the_issuers_own_terms_count(changes: dict[str, Any], payload: dict[str, Any], name, reason):
    found = agreed(signed(payload), issuer(**changes))
    assert failing(found) == ([(name, reason)] if name is not None else [])


def test_all_faults_of_the_claims_are_told_together_and_none_before_the_signature():
    bad = claims(exp=NOW - 3600, aud="other", jti=7)
    assert [name for name, _ in failing(agreed(signed(bad)))] == ["exp", "jti", "aud"]
    forged = agreed(signed(bad, name="second"))
    assert [name for name, _ in failing(forged)] == ["signature"]
    assert not forged.signed
    assert {check.state for check in forged.checks[9:]} == {"not reached"}
    assert [name for name, _ in failing(agreed(signed(header={"crit": [], "typ": "x", "alg": "HS256"})))] == [
        "crit", "alg", "typ",
    ]  # fmt: skip


def test_an_issuer_without_keys_is_no_bad_token():
    class Nothing:
        symmetric = False
        age = 0.0

        def current(self) -> None:
            return None

        async def key(self, kid: str | None, alg: str) -> Any:
            from authz.core.errors import KeysUnavailable

            raise KeysUnavailable("not there")

    found = agreed(signed(), issuer(keys=Nothing()))
    assert failing(found) == [("key", Reason.KEYS_UNAVAILABLE)]


def test_of_a_shared_secret_not_even_a_digest_is_told():
    shared = issuer(keys=StaticKeys.from_secret(SECRET), algorithms=frozenset({"HS256"}))
    found = agreed(signed(alg="HS256"), shared)
    assert next(check.detail for check in found.checks if check.name == "key") == "the shared secret"


def test_a_check_that_only_the_verifier_knows_counts(monkeypatch):
    from authz.core.errors import Unauthenticated

    async def refuse(*_: object) -> Identity:
        raise Unauthenticated(Reason.TOKEN_TYPE, "something new")

    monkeypatch.setattr(TokenVerifier, "verify", refuse)
    found = examined(signed(), issuer())
    assert found.identity is None
    assert ("verifier", Reason.TOKEN_TYPE) in failing(found)


# --- the property: whatever is done to a token ------------------------------------------------------------

_member = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.sampled_from([NOW - 100, NOW, NOW + 100, 1e300, 2**70]),
    st.sampled_from(["", "api", "web", "access", "id", "u-1", "mallory", "t-1", ISSUER, "JWT", "at+jwt", "RS256", "k1", "x"]),
    st.lists(st.sampled_from(["api", "a b", 7]), max_size=2), st.just({"a": 1}),
)  # fmt: skip
_claims = st.dictionaries(
    st.sampled_from(["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "token_use", "client_id", "azp", "cid", "groups", "scope"]),
    _member, max_size=3,
)  # fmt: skip
_headers = st.dictionaries(st.sampled_from(["alg", "typ", "kid", "crit", "b64", "jwk"]), _member, max_size=2)
_ISSUERS = (
    issuer(),
    issuer(clients=frozenset({"web"}), source=GROUPS, leeway=0.0),
    issuer(cognito=True),
    issuer(audiences=frozenset(), source=source(token="id", id_claim="azp"), algorithms=frozenset({"RS256", "ES256"}),
           keys=static(jwk("RS256"), jwk("ES256", kid="k2"))),
)  # fmt: skip


@settings(max_examples=250, deadline=None)
@given(_claims, _headers, st.sampled_from(_ISSUERS), st.sampled_from(["first", "first", "second"]))
def test_the_report_agrees_with_the_verifier_over_any_claims(changes, header, on, key):
    agreed(signed(claims() | changes, header=header, name=key), on)


@settings(max_examples=250, deadline=None)
@given(st.data())
def test_the_report_agrees_with_the_verifier_over_any_tampering(data):
    token = data.draw(st.sampled_from([signed(), signed(claims(sub="mallory")), signed(claims(exp=NOW - 99))]))
    at = data.draw(st.integers(0, len(token) - 1))
    end = data.draw(st.integers(at, min(len(token), at + 3)))
    agreed(token[:at] + data.draw(st.text("AZaz09-_.=é+ ", max_size=3)) + token[end:] or ".")


# --- what a token yields ----------------------------------------------------------------------------------

_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**65), 2**65), st.floats(allow_nan=False), st.text(max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["a", "b", "__entity"]), inner, max_size=3)),
    max_leaves=8,
)  # fmt: skip


def plain(value: Any) -> Any:
    return [plain(member) for member in value] if isinstance(value, tuple) else (
        {name: plain(member) for name, member in value.items()} if isinstance(value, dict) else value
    )  # fmt: skip


@given(st.dictionaries(st.sampled_from(["x", "y"]), _json, max_size=2))
def test_what_is_told_to_be_lost_is_what_is_lost(given_claims):
    lost = unsayable(given_claims, access=True)
    kept = {name: plain(value) for name, raw in given_claims.items() if (value := value_from_json(raw)) is not None}
    assert (lost == ()) == (kept == given_claims)
    for part in lost:
        assert part.why
    whole = {part.path for part in lost} & given_claims.keys()
    assert whole == given_claims.keys() - kept.keys()


@pytest.mark.parametrize(
    ("given_claims", "lost"),
    [
        ({"a": None}, {"a": "no null"}),
        ({"a": {"b": [1, 1.5]}}, {"a.b[1]": "fraction"}),
        ({"a": 2**63}, {"a": "64 bits"}),
        ({"a": {"__entity": 1}}, {"a": "reserved name"}),
        ({"__extn": 1}, {"__extn": "reserved name"}),
        ({"a": list(range(1001))}, {"a": "more than 1000"}),
        ({"a": "x" * 65_537}, {"a": "65536 characters"}),
        ({"a": "\ud800"}, {"a": "Unicode"}),
        ({"a": {"\ud800": 1}}, {"a.\ud800": "Unicode"}),
    ],
)
def test_why_a_claim_is_lost(given_claims, lost):
    found = unsayable(given_claims, access=True)
    assert [part.path for part in found] == list(lost)
    for part in found:
        assert lost[part.path] in part.why


def test_cognitos_groups_are_no_attribute_of_an_id_token():
    assert [part.path for part in unsayable({"cognito:groups": ["a"]}, access=False)] == ["cognito:groups"]
    assert unsayable({"cognito:groups": ["a"]}, access=True) == ()


SCHEMA = load_schema("""
entity User { email?: String, level?: Long };
entity Item;
action Read appliesTo { principal: User, resource: Item, context: { token?: { scope?: Set<String>, address?: { city?: String } } } };
action Write appliesTo { principal: User, resource: Item, context: { token?: { scope?: String } } };
action Ping appliesTo { principal: User, resource: Item, context: {} };
""")


def identity(kind: str, **more: Any) -> Identity:
    on = issuer(source=source(principal_type="User", token=kind))
    found = examined(signed(claims(**more)), on).identity
    assert found is not None
    return found


def test_policies_see_of_an_access_token_what_each_action_declares():
    read, write, ping = seen_by_policies(identity("access", scope="a b", address={"city": "x", "zip": "1"}), SCHEMA)
    assert (read.actions, read.kept) == (("Read",), {"scope": ("a", "b"), "address": {"city": "x"}})
    assert set(read.left_out) == {"iss", "sub", "aud", "address.zip"}
    assert (write.actions, write.kept) == (("Write",), None)
    assert "context.token.scope" in write.misfit
    assert (ping.actions, ping.kept) == (("Ping",), {})
    (bare,) = seen_by_policies(identity("access", scope="a"), None)
    assert bare.kept is not None
    assert bare.kept["scope"] == ("a",)


def test_policies_see_of_an_id_token_the_declared_attributes():
    (seen,) = seen_by_policies(identity("id", email="a@x", colour="red"), SCHEMA)
    assert seen.kept == {"email": "a@x"}
    assert "colour" in seen.left_out
    (bad,) = seen_by_policies(identity("id", level="high"), SCHEMA)
    assert bad.kept is None
    assert "User.level" in bad.misfit


# --- words ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "now"),
        (0.5, "now"),
        (90, "in 1 min 30 s"),
        (-3600, "1 h ago"),
        (200_000, "in 2 d 7 h"),
        (-86_401, "1 d 1 s ago"),
    ],
)
def test_distances(seconds, text):
    assert distance(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(NOW, "2027-01-15 08:00:00 UTC, now"), (True, "true"), ("x", '"x"'), (1e300, "1e+300"), (-(2**60), str(-(2**60)))],
)
def test_moments(value, text):
    assert moment(value, NOW) == text


@given(st.text())
def test_nothing_that_a_terminal_obeys_is_printed(text):
    assert printable(text).isprintable()
    assert told({"x": text}).isprintable()
    printable(text).encode()


# --- the command ------------------------------------------------------------------------------------------

CEDAR = "entity User in [Group]; entity Group; entity Item; action Read appliesTo { principal: User, resource: Item, context: { token?: { scope?: Set<String> } } };"


def configured(folder: Path, *issuers: dict[str, Any]) -> Path:
    (folder / "policies").mkdir(exist_ok=True)
    (folder / "policies" / "schema.cedarschema").write_text(CEDAR)
    (folder / "policies" / "all.cedar").write_text("permit (principal, action, resource);")
    (folder / "deny.yaml").write_text('{jti: ["t-1"]}')
    route = {"name": "r", "match": {"path": "/a"}, "action": 'Action::"Read"', "resource": {"type": "Item", "id": "x"}}
    config = {"issuers": issuers, "policies": {"path": "policies"}, "routes": [route], "deny_list": "deny.yaml"}
    file = folder / "authz.yaml"
    file.write_text(json.dumps(config))
    return file


def key_set() -> dict[str, Any]:
    return {"keys": [jwk("RS256")]}


def fresh(**more: Any) -> str:
    return signed(claims(exp=int(time.time()) + 300, iat=int(time.time())) | more)


@pytest.fixture
def config(tmp_path: Path) -> str:
    groups = {"type": "Group"}
    return str(configured(tmp_path, {"issuer": ISSUER, "audience": "api", "keys": key_set(), "groups": groups}))


@pytest.fixture
def standard_input(monkeypatch: pytest.MonkeyPatch):
    def given_text(text: str | bytes) -> None:
        data = text if isinstance(text, bytes) else text.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return given_text


def secrets_of(token: str) -> set[str]:
    """What must not be shown: the token, its signature, and any longer part of that."""
    sign = token.rpartition(".")[2]
    raw = base64.urlsafe_b64decode(sign + "=" * (-len(sign) % 4))
    return {token, sign, raw.hex(), *(sign[n : n + 12] for n in range(0, len(sign) - 12, 6))}


@pytest.mark.parametrize("form", [[], ["--json"]])
@pytest.mark.parametrize("how", ["stdin", "dash", "bearer", "file", "argument"])
def test_a_good_token(config, standard_input, capsys, tmp_path, how, form):
    token = fresh(scope="read", groups=["staff"], score=1.5)
    standard_input(f"Bearer {token}\n" if how == "bearer" else f"\n{token}\n")
    (tmp_path / "token.txt").write_text(token)
    where = {"dash": ["-"], "file": ["--file", str(tmp_path / "token.txt")], "argument": [token]}.get(how, [])
    assert cli.main(["token", "-c", config, *form, *where]) == 0
    seen = capsys.readouterr()
    assert ("list of processes" in seen.err) == (how == "argument")
    assert not any(secret in seen.out + seen.err for secret in secrets_of(token))
    for word in ("u-1", "staff", "read", "score"):
        assert word in seen.out
    if form:
        found = json.loads(seen.out)
        assert (found["verdict"], found["reason"], found["signed"]) == ("good", None, True)
        assert [check["name"] for check in found["checks"]] == list(NAMES)
        who = found["identity"]
        assert (who["principal"], who["groups"]) == ('User::"u-1"', ['Group::"staff"'])
        assert who["lost"] == [{"claim": "score", "why": "Cedar has no numbers with a fraction or an exponent"}]
        assert who["policies_see"][0]["value"] == '{scope: ["read"]}'
    else:
        assert "good: the token counts" in seen.out
        assert "UTC, in 4 min 5" in seen.out or "UTC, in 5 min" in seen.out


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: fresh(aud="other"), "token_audience"),
        (lambda: fresh(jti="t-1"), "token_revoked"),
        (lambda: signed(claims(exp=1)), "token_expired"),
        (lambda: signed(name="second"), "token_signature"),
        (lambda: "hello", "token_malformed"),
        (lambda: "x" * 20_000, "token_too_large"),
        (lambda: "é", "token_malformed"),
    ],
)
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_bad_token(config, standard_input, capsys, make, reason, form):
    token = make()
    standard_input(token)
    assert cli.main(["token", "-c", config, *form]) == 1
    seen = capsys.readouterr()
    assert seen.err == ""
    assert reason in seen.out
    assert token.count(".") != 2 or not any(secret in seen.out for secret in secrets_of(token))
    if form:
        found = json.loads(seen.out)
        assert (found["verdict"], found["reason"], found["identity"]) == ("bad", reason, None)


def test_claims_cannot_steer_the_terminal(config, standard_input, capsys):
    standard_input(fresh(sub="\x9b2J\u202e", name="\x1b[2J", **{"\x1b[2J": 1}))
    cli.main(["token", "-c", config])
    assert all(line.isprintable() for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize(
    ("given_text", "arguments"),
    [
        ("", []),
        (" \n", []),
        ("Bearer ", []),
        ("", ["--file", "missing"]),
        ("x", ["--file", "f", "x"]),
        (b"x" * 2_000_000, []),
        ("", ["--file", "."]),
    ],
)
def test_what_is_no_token_is_2(config, standard_input, capsys, given_text, arguments):
    standard_input(given_text)
    assert cli.main(["token", "-c", config, *arguments]) == 2
    seen = capsys.readouterr()
    assert seen.out == ""
    assert "authz token: " in seen.err


def test_a_configuration_that_cannot_be_used_is_2(tmp_path, capsys):
    assert cli.main(["token", "-c", str(tmp_path / "none.yaml"), "x"]) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("offline", [False, True])
async def test_keys_are_found_as_serve_finds_them(tmp_path, capsys, standard_input, offline):
    server = KeyServer()
    await server.start()
    try:
        server.keys = [jwk("RS256")]
        other = {"issuer": "http://127.0.0.1:9", "audience": "api", "principal": {"prefix": "o"}}
        file = configured(tmp_path, {"issuer": server.issuer, "audience": "api"}, other)
        standard_input(fresh(iss=server.issuer))
        arguments = ["token", "-c", str(file), *(["--offline"] if offline else [])]
        code = await asyncio.to_thread(cli.main, arguments)
        seen = capsys.readouterr().out
        if offline:
            assert (code, dict(server.asked)) == (1, {})
            assert "unknown: keys_unavailable" in seen
            assert "--offline" in seen
        else:
            assert code == 0, seen
            assert sorted(server.asked.values()) == [1, 1]
    finally:
        await server.stop()


def test_an_issuer_that_does_not_answer_leaves_it_open(tmp_path, capsys, standard_input, unused_tcp_port):
    name = f"http://127.0.0.1:{unused_tcp_port}"
    standard_input(fresh(iss=name))
    assert cli.main(["token", "-c", str(configured(tmp_path, {"issuer": name, "audience": "api"}))]) == 1
    seen = capsys.readouterr().out
    assert "keys_unavailable" in seen
    assert "503" in seen
