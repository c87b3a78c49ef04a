"""Known attacks on where credentials stand and on which of them counts, one named test for each."""

import pytest

from authz.authn.api_keys import ApiKey, ApiKeys, new_key
from authz.authn.carriers import cookie, plain_header
from authz.authn.forwarded_certificate import ClientCertificates
from authz.authn.tokens import TokenAuthenticator
from authz.core.errors import Reason, Unauthenticated
from authz.core.mapping import FORWARDED_CERTIFICATE, SOURCE_PRINCIPAL
from authz.core.model import EntityUid, Headers
from tests.authn.issuing import claims, now_or_never, request_with, signed, tokens, verifier

VICTIM, ATTACKER = signed(claims(sub="u-1")), signed(claims(sub="mallory"))


def subject(authenticator, *fields, **extensions):
    names = {"grpc": SOURCE_PRINCIPAL, "header": FORWARDED_CERTIFICATE}
    request = request_with(Headers(fields), {names[key]: value for key, value in extensions.items()})
    identity = now_or_never(authenticator.authenticate(request))
    return identity.subject if identity is not None else None


def reason(authenticator, *fields, **extensions):
    with pytest.raises(Unauthenticated) as caught:
        subject(authenticator, *fields, **extensions)
    return caught.value.reason


def session(name="__Host-session"):
    return TokenAuthenticator(verifier(), cookie(name))


class TestCookies:
    def test_a_neighbours_cookie_cannot_stand_in_for_a_missing_prefixed_one(self):
        """A sibling host sets `theme=x,__Host-session=…` for the whole site: to whoever splits at commas, a session."""
        assert reason(session(), ("cookie", f"theme=x,__Host-session={ATTACKER}")) is Reason.CREDENTIALS_AMBIGUOUS

    def test_a_neighbours_cookie_cannot_replace_the_session(self):
        for name in ("session", "__Host-session"):
            for field in (f"theme=x,{name}={ATTACKER}; {name}={VICTIM}", f"{name}={VICTIM}; theme=x,{name}={ATTACKER}"):
                assert reason(session(name), ("cookie", field)) is Reason.CREDENTIALS_AMBIGUOUS

    def test_cookie_tossing(self):
        """The same name for another path or domain: browsers send both, in an order that the attacker chooses."""
        fields = [("cookie", f"session={ATTACKER}; session={VICTIM}")]
        assert reason(session("session"), *fields) is Reason.CREDENTIALS_AMBIGUOUS

    @pytest.mark.parametrize("space", ["\x85", "\xa0", "\u2000", "\u3000", "\x0b", "\x0c", "\x1f", "\ufeff"])
    def test_no_other_space_hides_a_prefix(self, space):
        """A browser does not take `\\u2000__Host-session` for a prefixed name; a server that strips it would."""
        assert subject(session(), ("cookie", f"a=b; {space}__Host-session={ATTACKER}")) is None

    @pytest.mark.parametrize("field", ["$Version=1; $Path=/", '$Version="1"'])
    def test_the_old_cookie_syntax_is_not_spoken(self, field):
        """RFC 2109's `$Version` switches some parsers to quoted strings and commas."""
        value = f'{field}; theme="x; __Host-session={ATTACKER}"; __Host-session={VICTIM}'
        assert reason(session(), ("cookie", value)) is Reason.CREDENTIALS_AMBIGUOUS

    def test_a_nameless_cookie_is_no_session(self):
        assert subject(session(), ("cookie", f"=__Host-session={ATTACKER}")) is None

    def test_a_bomb_of_cookies_hides_nothing_and_costs_little(self):
        bomb = "; ".join(f"c{number}={'x' * 20}" for number in range(400))
        assert len(bomb) > 8000
        assert subject(session(), ("cookie", f"{bomb}; __Host-session={VICTIM}; {bomb}")) == "u-1"
        assert reason(session(), ("cookie", "__Host-session=" + "x" * 40_000)) is Reason.TOKEN_TOO_LARGE

    def test_a_bomb_of_joints_is_read_in_one_pass(self):
        for field in ("; " * 30_000, ";" + " " * 60_000, "session" * 9_000, ",session" * 8_000, "session " * 8_000):
            assert subject(session("session"), ("cookie", field)) is None

    def test_a_quote_that_does_not_close_is_no_token(self):
        assert reason(session(), ("cookie", f'__Host-session="{VICTIM}')) is Reason.TOKEN_MALFORMED


class TestConfusedCarriers:
    def test_a_token_counts_in_its_own_place_only(self):
        places = [
            ("authorization", f"Bearer {VICTIM}"),
            ("x-access-token", VICTIM),
            ("cookie", f"session={VICTIM}"),
        ]
        own = [tokens(), TokenAuthenticator(verifier(), plain_header("x-access-token")), session("session")]
        for position, authenticator in enumerate(own):
            found = [subject(authenticator, place) for place in places]
            assert found == ["u-1" if place == position else None for place in range(len(places))]

    def test_a_name_with_an_underscore_is_no_alias(self):
        authenticator = TokenAuthenticator(verifier(), plain_header("x-access-token"))
        assert subject(authenticator, ("X_Access_Token", VICTIM)) is None

    def test_a_token_is_no_api_key_and_an_api_key_no_token(self):
        new = new_key("k")
        entry = ApiKey(id="k", digest=bytes.fromhex(new.digest), principal=EntityUid("App::User", "u-1"))
        keys = ApiKeys({"k": entry}, plain_header("x-api-key"), name="keys")
        assert reason(keys, ("x-api-key", VICTIM)) is Reason.API_KEY_INVALID
        assert reason(tokens(), ("authorization", f"Bearer {new.text}")) is Reason.TOKEN_MALFORMED


ADMIN = "spiffe://td/admin"
HASH = "0" * 64


def mesh(kind="uri", **settings):
    return ClientCertificates(name="mesh", principal_type="App::User", kind=kind, **settings)


class TestForwardedCertificates:
    """What a client can do that chooses names of its own certificate: Envoy writes them down without quotes."""

    def test_a_uri_with_a_comma_is_no_second_element(self):
        header = f"Hash={HASH};URI=spiffe://td/tenant/x,Hash={HASH};URI={ADMIN}"
        assert reason(mesh(), header=header) is Reason.CERTIFICATE_INVALID
        told = f"spiffe://td/tenant/x,Hash={HASH};URI={ADMIN}"
        assert reason(mesh(), header=header, grpc=told) is Reason.CERTIFICATE_INVALID

    def test_a_uri_with_a_semicolon_is_no_second_uri(self):
        header = f"Hash={HASH};URI=spiffe://td/tenant/x;URI={ADMIN}"
        assert reason(mesh(), header=header) is Reason.CERTIFICATE_INVALID

    def test_a_uri_with_a_semicolon_is_no_dns_name(self):
        header = f"Hash={HASH};URI=spiffe://td/tenant/x;DNS=admin.example"
        assert reason(mesh("dns"), header=header) is Reason.CERTIFICATE_INVALID
        told = "spiffe://td/tenant/x;DNS=admin.example"
        assert reason(mesh("dns"), header=header, grpc=told) is Reason.CERTIFICATE_INVALID

    def test_a_dns_name_with_a_semicolon_is_no_uri(self):
        header = f'Hash={HASH};Subject="CN=x";URI=;DNS=a;URI={ADMIN}'
        assert reason(mesh(), header=header) is Reason.CERTIFICATE_INVALID

    def test_a_name_is_no_hash_and_no_subject(self):
        for tail in (f"Hash={'1' * 64}", 'Subject="CN=admin"'):
            header = f"Hash={HASH};URI=spiffe://td/tenant/x;{tail}"
            for kind in ("hash", "subject"):
                assert reason(mesh(kind), header=header) is Reason.CERTIFICATE_INVALID

    def test_a_quote_in_a_subject_ends_nothing(self):
        """RFC 2253 escapes it, as Envoy writes it."""
        header = rf'Hash={HASH};Subject="CN=a\";URI={ADMIN};X=\"b";URI=spiffe://td/tenant/x'
        assert subject(mesh(), header=header) == "spiffe://td/tenant/x"

    def test_an_open_quote_swallows_nothing(self):
        """A client's own header before Envoy's element (APPEND_FORWARD)."""
        for forged in ('Subject="', f'Hash=0;URI={ADMIN};Cert="', "URI=x;", "URI=x\\"):
            header = f"{forged},Hash={HASH};URI=spiffe://td/tenant/x"
            assert reason(mesh(), header=header) is Reason.CERTIFICATE_INVALID

    def test_another_certificates_hash_beside_ones_own(self):
        """FORWARD_ONLY: Envoy passes on what a client with a certificate of its own says of itself."""
        header = f"Hash={'1' * 64};URI={ADMIN}"
        assert reason(mesh("hash"), header=header, grpc="spiffe://td/tenant/x") is Reason.CERTIFICATE_INVALID

    def test_a_pattern_covers_no_neighbouring_domain(self):
        authenticator = mesh(allowed=["spiffe://td/*"])
        for name in ("spiffe://td.evil/x", "spiffe://td@evil/x", "xspiffe://td/x", "spiffe://td"):
            assert reason(authenticator, grpc=name) is Reason.CERTIFICATE_INVALID

    def test_the_header_itself_is_never_read(self):
        """Doors put it where Envoy vouches for it; behind any other proxy it is the client's."""
        assert subject(mesh(), ("x-forwarded-client-cert", f"Hash={HASH};URI={ADMIN}")) is None
