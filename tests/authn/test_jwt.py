"""Bearer tokens: what is accepted, and every reason for which one is not."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.authn.issuer import MAX_LEEWAY, Issuer
from authz.authn.jwks import StaticKeys
from authz.authn.keys import Keys, key_from_jwk
from authz.authn.tokens import TokenAuthenticator
from authz.core.errors import Misconfigured, Reason, Unauthenticated
from authz.core.model import EntityUid, Identity
from tests.authn.issuing import (
    ISSUER,
    NOW,
    SECRET,
    asking,
    bearing,
    claims,
    issuer,
    jwk,
    now_or_never,
    public_pem,
    signed,
    source,
    static,
    tokens,
)


def accepted(token: str, authenticator: TokenAuthenticator | None = None) -> Identity:
    identity = now_or_never((authenticator or tokens()).authenticate(bearing(token)))
    assert isinstance(identity, Identity)
    return identity


def refused(token: str, authenticator: TokenAuthenticator | None = None) -> Reason:
    with pytest.raises(Unauthenticated) as caught:
        now_or_never((authenticator or tokens()).authenticate(bearing(token)))
    assert caught.value.status == 401
    assert token not in caught.value.detail
    return caught.value.reason


ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


class TestSignature:
    @pytest.mark.parametrize("alg", ALGORITHMS)
    def test_a_good_one_is_accepted(self, alg):
        authenticator = tokens(issuer(keys=static(jwk(alg)), algorithms=frozenset({alg})))
        identity = accepted(signed(alg=alg), authenticator)
        assert identity.principal == EntityUid("App::User", "u-1")
        assert (identity.issuer, identity.subject, identity.expires_at) == (ISSUER, "u-1", NOW + 300)
        assert identity.claims == claims()

    @pytest.mark.parametrize("alg", ALGORITHMS)
    @pytest.mark.parametrize("form", ["jwk", "jwk without alg", "pem"])
    def test_the_key_may_come_in_any_form(self, alg, form):
        keys = {
            "jwk": lambda: static(jwk(alg)),
            "jwk without alg": lambda: static(jwk(alg, alg=None)),
            "pem": lambda: StaticKeys.from_pem(public_pem(alg)),
        }[form]()
        accepted(signed(alg=alg), tokens(issuer(keys=keys, algorithms=frozenset({alg}))))

    @pytest.mark.parametrize("alg", ALGORITHMS)
    @pytest.mark.parametrize("change", ["other key", "other claims", "other header", "cut", "empty", "longer", "zeros"])
    def test_a_bad_one_is_refused(self, alg, change):
        authenticator = tokens(issuer(keys=static(jwk(alg)), algorithms=frozenset({alg})))
        head, body, sign = signed(alg=alg).split(".")
        other_head, other_body, _ = signed(claims(sub="admin"), alg=alg, header={"typ": "at+jwt"}).split(".")
        forged = {
            "other key": signed(alg=alg, name="second"),
            "other claims": f"{head}.{other_body}.{sign}",
            "other header": f"{other_head}.{body}.{sign}",
            "cut": f"{head}.{body}.{sign[:-4]}",
            "empty": f"{head}.{body}.",
            "longer": f"{head}.{body}.{sign}AAAA",
            "zeros": f"{head}.{body}.{'A' * len(sign)}",
        }[change]
        # Not every length is base64url.
        assert refused(forged, authenticator) in {Reason.TOKEN_SIGNATURE, Reason.TOKEN_MALFORMED}
        accepted(signed(alg=alg), authenticator)

    @pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
    def test_a_shared_secret_serves_where_it_is_configured(self, alg):
        shared = issuer(keys=StaticKeys.from_secret(SECRET), algorithms=frozenset({alg}))
        accepted(signed(alg=alg), tokens(shared))
        assert refused(signed(alg=alg)[:-8] + "AAAAAAAA", tokens(shared)) is Reason.TOKEN_SIGNATURE


class TestKey:
    def test_the_kid_chooses_it(self):
        keys = static(jwk("RS256", kid="a"), jwk("RS256", "second", kid="b"))
        authenticator = tokens(issuer(keys=keys))
        accepted(signed(header={"kid": "a"}), authenticator)
        accepted(signed(header={"kid": "b"}, name="second"), authenticator)
        assert refused(signed(header={"kid": "b"}), authenticator) is Reason.TOKEN_SIGNATURE
        assert refused(signed(header={"kid": "c"}), authenticator) is Reason.TOKEN_KEY_UNKNOWN

    def test_without_kid_one_key_must_fit(self):
        bare = signed(header={"kid": None})
        accepted(bare)
        one_of_a_kind = static(jwk("RS256"), jwk("ES256", kid="k2"), jwk("RS512", "second", kid="k3"))
        accepted(bare, tokens(issuer(keys=one_of_a_kind)))
        two = static(jwk("RS256"), jwk("RS256", "second", kid="k2"))
        assert refused(bare, tokens(issuer(keys=two))) is Reason.TOKEN_KEY_UNKNOWN

    @pytest.mark.parametrize("kid", [None, 7, True, ["k1"], {"k": 1}, 1.5])
    def test_a_kid_is_a_string(self, kid):
        header = json.dumps({"alg": "RS256", "kid": kid}).encode()
        assert refused(signed(header=header)) is Reason.TOKEN_MALFORMED

    @pytest.mark.parametrize(
        "kid",
        ["", "K1", "k1 ", "../../k1", "k1' OR '1'='1", "/dev/null", "k1\x00", "\ud800", "x" * 5000, "http://e.org/"],
    )
    def test_a_kid_is_a_name_and_nothing_else(self, kid):
        with pytest.raises(Unauthenticated) as caught:
            now_or_never(tokens().authenticate(bearing(signed(header={"kid": kid}))))
        assert caught.value.reason is Reason.TOKEN_KEY_UNKNOWN
        assert caught.value.detail.isascii()
        assert caught.value.detail.isprintable()
        assert len(caught.value.detail) < 128

    def test_a_key_serves_its_own_algorithm_only(self):
        keys = static(jwk("RS256"), jwk("ES256", kid="k2"))
        authenticator = tokens(issuer(keys=keys, algorithms=frozenset({"RS256", "RS512", "ES256", "ES384"})))
        accepted(signed(alg="RS256"), authenticator)
        accepted(signed(alg="ES256", header={"kid": "k2"}), authenticator)
        for token in (
            signed(alg="RS512"),  # the key's `alg` is RS256
            signed(alg="ES256"),  # k1 is an RSA key
            signed(alg="ES384", header={"kid": "k2"}),  # k2 is on P-256
        ):
            assert refused(token, authenticator) is Reason.TOKEN_KEY_UNKNOWN

    @pytest.mark.parametrize("other", ["ES256", "ES384", "EdDSA"])
    def test_a_key_set_that_gives_an_unfit_key_is_no_way_in(self, other):
        unfit = key_from_jwk(jwk(other))

        class Wrong(StaticKeys):
            def current(self):
                return None

            async def key(self, kid, alg):
                return unfit

        for alg in {"RS256", "ES256", "EdDSA"} - {other}:
            terms = issuer(keys=Wrong(Keys([])), algorithms=frozenset({alg}))
            assert refused(signed(alg=alg), tokens(terms)) is Reason.TOKEN_KEY_UNKNOWN


class TestHeader:
    @pytest.mark.parametrize("alg", ["none", "None", "NONE", "", "HS256", "RS512", "rs256", "RS256 ", "ES256", "Ed448"])
    def test_the_algorithm_is_on_the_issuers_list(self, alg):
        assert refused(signed(header={"alg": alg})) is Reason.TOKEN_ALGORITHM

    @pytest.mark.parametrize("alg", [None, 7, True, ["RS256"], {"alg": "RS256"}])
    def test_the_algorithm_is_a_string(self, alg):
        header = {"alg": alg} if alg is not None else b'{"kid":"k1"}'
        assert refused(signed(header=header)) is Reason.TOKEN_ALGORITHM

    @pytest.mark.parametrize(
        "extension",
        [
            {"crit": ["exp"], "exp": 1},
            {"crit": ["b64"], "b64": True},
            {"crit": ["b64"], "b64": False},
            {"crit": []},
            {"crit": None},
            {"crit": "x"},
            {"b64": False},
            {"b64": "x"},
        ],
    )
    def test_no_critical_extension_is_understood(self, extension):
        header = {"alg": "RS256", "kid": "k1"} | extension
        assert refused(signed(header=json.dumps(header).encode())) is Reason.TOKEN_CRITICAL

    @pytest.mark.parametrize(
        ("kind", "typ", "good"),
        [
            ("access", "at+jwt", True),
            ("access", "application/at+jwt", True),
            ("access", "AT+JWT", True),
            ("access", "JWT", True),
            ("access", "jwt", True),
            ("access", None, True),
            ("id", "JWT", True),
            ("id", None, True),
            ("id", "at+jwt", False),
            ("access", "logout+jwt", False),
            ("access", "secevent+jwt", False),
            ("access", "dpop+jwt", False),
            ("access", "JWE", False),
            ("access", "text/jwt", False),
            ("access", 7, False),
            ("access", ["JWT"], False),
        ],
    )
    def test_the_type_is_that_of_the_token_asked_for(self, kind, typ, good):
        authenticator = tokens(issuer(source=source(token=kind)))
        token = signed(header={"typ": typ})
        if good:
            accepted(token, authenticator)
        else:
            assert refused(token, authenticator) is Reason.TOKEN_TYPE

    def test_the_types_can_be_set(self):
        strict = tokens(issuer(types=frozenset({"at+jwt"})))
        accepted(signed(header={"typ": "at+jwt"}), strict)
        for typ in ("JWT", None):
            assert refused(signed(header={"typ": typ}), strict) is Reason.TOKEN_TYPE


class TestIssuer:
    @pytest.mark.parametrize(
        "iss", ["https://evil.example.com", f"{ISSUER}/", ISSUER.upper(), "", 7, True, [ISSUER], {"iss": ISSUER}, None]
    )
    def test_it_is_one_of_the_configured_to_the_letter(self, iss):
        assert refused(signed(claims(iss=iss))) is Reason.TOKEN_ISSUER

    def test_each_has_its_own_keys_and_terms(self):
        other = issuer(
            issuer="https://other.example.com",
            keys=static(jwk("ES256")),
            algorithms=frozenset({"ES256"}),
            audiences=frozenset({"other-api"}),
            source=source(principal_type="Other::User", token="id"),
        )
        authenticator = tokens(issuer(), other)
        assert accepted(signed(), authenticator).principal.type == "App::User"
        theirs = signed(claims(iss=other.issuer, aud="other-api"), alg="ES256")
        assert accepted(theirs, authenticator).principal.type == "Other::User"
        assert refused(signed(claims(iss=other.issuer)), authenticator) is Reason.TOKEN_ALGORITHM
        mixed = signed(claims(iss=other.issuer, aud="api"), alg="ES256")
        assert refused(mixed, authenticator) is Reason.TOKEN_AUDIENCE


class TestTimes:
    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"exp": NOW + 1}, None),
            ({"exp": NOW - 29.9}, None),  # within the leeway
            ({"exp": NOW - 30}, Reason.TOKEN_EXPIRED),
            ({"exp": 0}, Reason.TOKEN_EXPIRED),
            ({"exp": -1}, Reason.TOKEN_EXPIRED),
            ({"exp": None}, Reason.TOKEN_CLAIMS),
            ({"exp": str(NOW + 1)}, Reason.TOKEN_CLAIMS),
            ({"exp": True}, Reason.TOKEN_CLAIMS),
            ({"exp": [NOW + 1]}, Reason.TOKEN_CLAIMS),
            ({"exp": 10**300}, Reason.TOKEN_CLAIMS),
            ({"exp": 2**53}, None),
            ({"nbf": NOW + 30}, None),
            ({"nbf": NOW + 30.1}, Reason.TOKEN_NOT_YET_VALID),
            ({"nbf": "0"}, Reason.TOKEN_CLAIMS),
            ({"nbf": False}, Reason.TOKEN_CLAIMS),
            ({"iat": None}, None),
            ({"iat": NOW + 30}, None),
            ({"iat": NOW + 31}, Reason.TOKEN_NOT_YET_VALID),
            ({"iat": "now"}, Reason.TOKEN_CLAIMS),
        ],
    )
    def test_they_count_with_the_leeway(self, changes, reason):
        token = signed(claims(**changes))
        if reason is None:
            accepted(token)
        else:
            assert refused(token) is reason

    @pytest.mark.parametrize("text", ["1e400", "-1e400", "null", "{}"])
    def test_numbers_that_are_none(self, text):
        body = json.dumps(claims(exp=None))[:-1] + f', "exp": {text}}}'
        assert refused(signed(body.encode())) is Reason.TOKEN_CLAIMS

    @pytest.mark.parametrize("text", ["NaN", "Infinity", "9" * 5000])
    def test_numbers_that_are_no_json(self, text):
        body = json.dumps(claims(exp=None))[:-1] + f', "exp": {text}}}'
        assert refused(signed(body.encode())) is Reason.TOKEN_MALFORMED

    def test_the_leeway_is_the_issuers(self):
        exact = tokens(issuer(leeway=0.0))
        assert refused(signed(claims(exp=NOW)), exact) is Reason.TOKEN_EXPIRED
        accepted(signed(claims(exp=NOW + 0.001, nbf=NOW, iat=NOW)), exact)
        accepted(signed(claims(exp=NOW - MAX_LEEWAY + 1)), tokens(issuer(leeway=MAX_LEEWAY)))


class TestAudience:
    @pytest.mark.parametrize(
        ("aud", "good"),
        [
            ("api", True),
            (["api"], True),
            (["other", "api"], True),
            ("other", False),
            (["other"], False),
            ([], False),
            (None, False),
            ("", False),
            ("api ", False),
            ("API", False),
            ("ap", False),
            ("api-admin", False),
            (["api", 7], False),
            (["api", ["x"]], False),
            ([["api"]], False),
            ({"api": True}, False),
            (7, False),
        ],
    )
    def test_one_of_the_configured_is_in_it(self, aud, good):
        token = signed(claims(aud=aud))
        if good:
            accepted(token)
        else:
            assert refused(token) is Reason.TOKEN_AUDIENCE

    @pytest.mark.parametrize("aud", [None, "anything", ["a", "b"]])
    def test_without_a_configured_one_it_is_not_looked_at(self, aud):
        accepted(signed(claims(aud=aud)), tokens(issuer(audiences=frozenset())))

    @pytest.mark.parametrize(
        ("named", "good"),
        [
            ({"azp": "web"}, True),
            ({"client_id": "web"}, True),
            ({"cid": "web"}, True),
            ({"azp": "web", "client_id": "web"}, True),
            ({"azp": "app", "client_id": "web"}, True),
            ({}, False),
            ({"azp": "evil"}, False),
            ({"azp": "web", "client_id": "evil"}, False),
            ({"azp": ["web"]}, False),
            ({"azp": 7}, False),
        ],
    )
    def test_the_client_is_an_allowed_one_where_clients_are_configured(self, named, good):
        authenticator = tokens(issuer(clients=frozenset({"web", "app"})))
        token = signed(claims(aud=["api", "other"], **named))
        if good:
            accepted(token, authenticator)
        else:
            assert refused(token, authenticator) is Reason.TOKEN_AUDIENCE
            accepted(token)

    @pytest.mark.parametrize(
        ("named", "good"),
        [
            ({"cid": "api"}, True),
            ({"client_id": "api"}, True),
            ({"cid": "api", "client_id": "api"}, True),
            ({"azp": "api"}, False),
            ({}, False),
            ({"cid": "api", "client_id": "evil"}, False),
            ({"client_id": ["api"]}, False),
            ({"client_id": 7}, False),
            ({"client_id": "api", "aud": "other"}, False),
            ({"client_id": "api", "aud": []}, False),
            ({"client_id": "evil", "aud": "api"}, True),
        ],
    )
    def test_a_client_may_stand_for_the_audience_of_an_access_token_without_one(self, named, good):
        token = signed(claims(**{"aud": None} | named))
        authenticator = tokens(issuer(client_as_audience=True))
        if good:
            accepted(token, authenticator)
        else:
            assert refused(token, authenticator) is Reason.TOKEN_AUDIENCE
        if "aud" not in named:  # of ID tokens, and where nobody said so, it may not
            identity = issuer(client_as_audience=True, source=source(token="id"))
            assert refused(token, tokens(identity)) is Reason.TOKEN_AUDIENCE
            assert refused(token) is Reason.TOKEN_AUDIENCE


class TestCognito:
    @pytest.mark.parametrize(
        ("kind", "changes", "reason"),
        [
            ("access", {"token_use": "access", "client_id": "app-client", "aud": None}, None),
            ("access", {"token_use": "access", "client_id": "other", "aud": "app-client"}, Reason.TOKEN_AUDIENCE),
            ("access", {"token_use": "access", "aud": "app-client"}, Reason.TOKEN_AUDIENCE),
            ("access", {"token_use": "access", "client_id": ["app-client"]}, Reason.TOKEN_AUDIENCE),
            ("access", {"token_use": "id", "aud": "app-client", "client_id": "app-client"}, Reason.TOKEN_TYPE),
            ("access", {"client_id": "app-client"}, Reason.TOKEN_TYPE),
            ("access", {"token_use": ["access"], "client_id": "app-client"}, Reason.TOKEN_TYPE),
            ("id", {"token_use": "id", "aud": "app-client"}, None),
            ("id", {"token_use": "id", "aud": None, "client_id": "app-client"}, Reason.TOKEN_AUDIENCE),
            ("id", {"token_use": "access", "client_id": "app-client", "aud": "app-client"}, Reason.TOKEN_TYPE),
        ],
    )
    def test_token_use_and_client(self, kind, changes, reason):
        pool = issuer(source=source(token=kind, prefix="pool"), cognito=True, audiences=frozenset({"app-client"}))
        authenticator = tokens(pool)
        token = signed(claims(**changes))
        if reason is None:
            assert accepted(token, authenticator).principal.id == "pool|u-1"
        else:
            assert refused(token, authenticator) is reason

    @pytest.mark.parametrize(
        ("changes", "header", "kind"),
        [
            ({"token_use": "access", "client_id": "web"}, {}, "access"),
            ({"token_use": "access", "client_id": "web"}, {"typ": "at+jwt"}, "access"),
            ({"token_use": "access", "client_id": "web"}, {"typ": None}, "access"),
            ({"token_use": "id", "aud": "web"}, {}, "id"),
            ({"token_use": "id", "aud": "web"}, {"typ": None}, "id"),
            ({"token_use": "id", "aud": "web"}, {"typ": "at+jwt"}, Reason.TOKEN_TYPE),
            ({"token_use": "access", "client_id": "web"}, {"typ": "logout+jwt"}, Reason.TOKEN_TYPE),
            # What one kind's audience is does not count for the other.
            ({"token_use": "access", "aud": "web"}, {}, Reason.TOKEN_AUDIENCE),
            ({"token_use": "id", "aud": None, "client_id": "web"}, {}, Reason.TOKEN_AUDIENCE),
            ({"token_use": "refresh", "aud": "web", "client_id": "web"}, {}, Reason.TOKEN_TYPE),
            ({"token_use": ["id"], "aud": "web"}, {}, Reason.TOKEN_TYPE),
            ({"aud": "web", "client_id": "web"}, {}, Reason.TOKEN_TYPE),
        ],
    )
    def test_a_token_of_either_kind_says_its_own(self, changes, header, kind):
        pool = issuer(source=source(token="either"), cognito=True, audiences=frozenset({"web"}))
        token = signed(claims(**{"aud": None} | changes), header=header)
        if isinstance(kind, Reason):
            assert refused(token, tokens(pool)) is kind
            return
        identity = accepted(token, tokens(pool))
        assert identity.credential is not None
        assert identity.credential.kind == kind
        assert (identity.token is not None) == (kind == "access")
        assert bool(identity.entities.entities[0].attributes) == (kind == "id")

    def test_types_that_are_set_count_for_either_kind(self):
        pool = issuer(source=source(token="either"), cognito=True, types=frozenset({"at+jwt"}))
        accepted(signed(claims(token_use="id"), header={"typ": "at+jwt"}), tokens(pool))
        assert refused(signed(claims(token_use="id")), tokens(pool)) is Reason.TOKEN_TYPE

    def test_another_issuers_token_use_may_not_contradict(self):
        accepted(signed(claims(token_use="access")))
        accepted(signed(claims(token_use="refresh-me")))
        assert refused(signed(claims(token_use="id"))) is Reason.TOKEN_TYPE


class TestClaims:
    @pytest.mark.parametrize(
        "changes",
        [{"sub": None}, {"sub": ""}, {"sub": 7}, {"sub": ["u-1"]}, {"jti": 7}, {"jti": ["a"]}, {"jti": {}}],
    )
    def test_sub_and_jti_are_strings(self, changes):
        assert refused(signed(claims(**changes))) is Reason.TOKEN_CLAIMS

    def test_they_become_the_identity(self):
        grouped = issuer(source=source(prefix="p", group_type="App::Group", group_claim="groups"))
        identity = accepted(signed(claims(groups=["a"], scope="read write")), tokens(grouped))
        assert identity.scheme == "bearer"
        assert identity.entities.entities[0].parents == {EntityUid("App::Group", "p|a")}
        assert identity.token is not None
        assert identity.token["scope"] == ("read", "write")

    @pytest.mark.parametrize("kind", ["access", "id"])
    def test_the_token_itself_goes_along_sealed(self, kind):
        token = signed()
        identity = accepted(token, tokens(issuer(source=source(token=kind))))
        assert identity.credential is not None
        assert (identity.credential.kind, identity.credential.secret) == (kind, token)
        assert token not in repr(identity)
        assert "u-1" not in repr(identity.credential)


class TestBounds:
    def test_a_token_too_large_is_refused_before_it_is_read(self):
        authenticator = tokens(max_token=len(signed()))
        accepted(signed(), authenticator)
        assert refused(signed(claims(sub="u-12")), authenticator) is Reason.TOKEN_TOO_LARGE
        assert refused("é" * 20_000) is Reason.TOKEN_TOO_LARGE

    @pytest.mark.parametrize("token", ["é", "\ud800", "a.b", "a b", "a,b", f"{signed()},{signed()}", f"{signed()} x"])
    def test_malformed(self, token):
        assert refused(token) is Reason.TOKEN_MALFORMED

    @pytest.mark.parametrize("values", [(), ("Basic x",), ("",)])
    def test_no_bearer_credential_is_no_answer(self, values):
        assert now_or_never(tokens().authenticate(asking(*values))) is None

    def test_two_credentials_are_ambiguous_even_if_both_are_good(self):
        bearer = f"Bearer {signed()}"
        authenticator = tokens()
        accepted(signed(), authenticator)
        with pytest.raises(Unauthenticated) as caught:
            now_or_never(authenticator.authenticate(asking(bearer, bearer)))
        assert caught.value.reason is Reason.CREDENTIALS_AMBIGUOUS

    JSON = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=6,
    )
    NAMES = st.sampled_from(
        ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "azp", "client_id", "token_use", "groups", "scope", "cognito"]
    )

    @given(st.dictionaries(NAMES, JSON, max_size=4))
    def test_no_signed_claims_raise_anything_else(self, changes):
        strict = issuer(
            source=source(group_type="App::Group", group_claim="groups"), clients=frozenset({"web"}), cognito=True
        )
        for terms in (issuer(), strict):
            self.identity_or_unauthenticated(f"Bearer {signed(claims() | changes)}", tokens(terms))

    @given(
        st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "cty", "zip"]), JSON, max_size=3)
    )
    def test_no_signed_header_raises_anything_else(self, changes):
        header = json.dumps({"alg": "RS256", "kid": "k1"} | changes).encode()
        self.identity_or_unauthenticated(f"Bearer {signed(header=header)}", tokens())

    @given(st.binary(max_size=64), st.binary(max_size=64))
    def test_no_bytes_raise_anything_else(self, header, payload):
        self.identity_or_unauthenticated(f"Bearer {signed(payload, header=header)}", tokens())

    @given(st.integers(0, len(signed()) - 1), st.characters())
    def test_no_changed_character_is_accepted(self, at, character):
        token = signed()
        changed = token[:at] + character + token[at + 1 :]
        if changed != token:
            refused(changed)

    @given(st.lists(st.text(st.characters()), max_size=3))
    def test_no_header_text_raises_anything_else(self, values):
        self.identity_or_unauthenticated("", tokens(), *values)

    @staticmethod
    def identity_or_unauthenticated(value: str, authenticator: TokenAuthenticator, *more: str) -> None:
        with suppress(Unauthenticated):
            identity = now_or_never(authenticator.authenticate(asking(value, *more)))
            assert identity is None or isinstance(identity, Identity)


class TestSettings:
    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"algorithms": frozenset()}, "at least one"),
            ({"algorithms": frozenset({"none"})}, "`none`"),
            ({"algorithms": frozenset({"RS256", "ES256K"})}, "`ES256K`"),
            ({"algorithms": frozenset({"HS256"})}, "shared secret"),
            ({"algorithms": frozenset({"RS256", "HS256"})}, "shared secret"),
            ({"keys": StaticKeys.from_secret(SECRET)}, "shared secret"),
            ({"keys": StaticKeys.from_secret(SECRET), "algorithms": frozenset({"HS256", "RS256"})}, "shared secret"),
            ({"issuer": ""}, "`iss`"),
            ({"leeway": -1.0}, "leeway"),
            ({"leeway": MAX_LEEWAY + 1}, "leeway"),
            ({"leeway": float("nan")}, "leeway"),
            ({"source": source(token="either")}, "`either`"),
        ],
    )
    def test_terms_that_cannot_be_are_refused(self, changes, words):
        with pytest.raises(Misconfigured, match=words):
            issuer(**changes)

    def test_all_problems_are_told(self):
        with pytest.raises(Misconfigured) as caught:
            issuer(algorithms=frozenset({"none"}), leeway=-1.0, issuer="")
        assert len(caught.value.problems) == 3

    def test_an_issuer_is_there_once(self):
        with pytest.raises(Misconfigured, match="twice"):
            tokens(issuer(), issuer(name="again"))

    def test_an_issuer_does_not_show_secrets(self):
        shared = issuer(keys=StaticKeys.from_secret(SECRET), algorithms=frozenset({"HS256"}))
        assert isinstance(shared, Issuer)
        assert SECRET.decode() not in repr(shared)
