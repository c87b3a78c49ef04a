"""Where a credential's text stands: the Authorization header, a header of its own, a cookie."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.authn.carriers import BEARER, cookie, header_with_scheme, plain_header
from authz.core.errors import Reason, Unauthenticated

TOKEN = "a.b.c"


def reason(carrier, *values):
    with pytest.raises(Unauthenticated) as caught:
        carrier.read(values)
    assert TOKEN not in f"{caught.value}{caught.value.detail}"
    return caught.value.reason


class TestBearer:
    @pytest.mark.parametrize(
        "values",
        [
            ("",),
            ("Basic dXNlcjpwYXNz",),
            ("Digest username=bearer, realm=x",),
            ("Bearerish x",),
            ("bearer-token x",),
            ("DPoP x",),
            ("AWS4-HMAC-SHA256 Credential=a, SignedHeaders=b",),
            ("eyJ.eyJ.x",),
            ("Basic a", "Basic b"),
        ],
    )
    def test_other_schemes_are_not_ours(self, values):
        assert BEARER.read(values) is None

    @pytest.mark.parametrize(
        "value", ["Bearer a.b.c", "bearer a.b.c", "BEARER a.b.c", "Bearer   a.b.c", " Bearer a.b.c ", "\tbEaReR a.b.c"]
    )
    def test_the_scheme_is_read_in_any_case(self, value):
        assert BEARER.read((value,)) == TOKEN

    @pytest.mark.parametrize(
        "value",
        [
            "Bearer",
            "bearer ",
            "Bearer   ",
            "Bearer\ta.b.c",
            "Bearer,a.b.c",
            "Bearer=a.b.c",
            "Bearer:a.b.c",
            "bearer\x00a",
        ],
    )
    def test_bearer_without_a_token_is_malformed(self, value):
        assert reason(BEARER, value) is Reason.TOKEN_MALFORMED

    @pytest.mark.parametrize(
        "values",
        [
            ("Bearer a.b.c", "Bearer a.b.c"),
            ("Basic x", "Bearer a.b.c"),
            ("Bearer a.b.c", ""),
            ("Basic x, Bearer a.b.c",),
            ("Basic x,bearer a.b.c",),
            ("Basic x", "Digest y, bearer a.b.c"),
        ],
    )
    def test_a_second_credential_is_ambiguous(self, values):
        assert reason(BEARER, *values) is Reason.CREDENTIALS_AMBIGUOUS


class TestHeader:
    @pytest.mark.parametrize("value", [TOKEN, f" {TOKEN}", f"{TOKEN}\t"])
    def test_it_holds_the_credential_alone(self, value):
        carrier = plain_header("x-access-token")
        assert carrier.header == "x-access-token"
        assert carrier.read((value,)) == TOKEN

    @pytest.mark.parametrize("value", ["", " ", "\t "])
    def test_an_empty_one_is_absent(self, value):
        assert plain_header("x-access-token").read((value,)) is None

    @pytest.mark.parametrize("values", [(TOKEN, TOKEN), (TOKEN, ""), (f"{TOKEN},{TOKEN}",), (f"{TOKEN}, x",)])
    def test_a_second_field_or_value_is_ambiguous(self, values):
        assert reason(plain_header("x-access-token"), *values) is Reason.CREDENTIALS_AMBIGUOUS

    def test_another_scheme_is_anothers_credential(self):
        carrier = header_with_scheme("authorization", "Token")
        assert carrier.read((f"Token {TOKEN}",)) == TOKEN
        assert carrier.read((f"Bearer {TOKEN}",)) is None
        assert carrier.read((f"Tokens {TOKEN}",)) is None
        assert reason(carrier, f"Bearer x, token {TOKEN}") is Reason.CREDENTIALS_AMBIGUOUS

    def test_a_scheme_with_a_hyphen_is_one_word(self):
        assert header_with_scheme("authorization", "X-Token").read((f"x-token {TOKEN}",)) == TOKEN
        assert header_with_scheme("authorization", "X").read((f"X-Token {TOKEN}",)) is None


class TestCookie:
    @pytest.mark.parametrize(
        "values",
        [
            ("session=a.b.c",),
            ("theme=dark; session=a.b.c",),
            ("session=a.b.c; theme=dark",),
            ("theme=dark;session=a.b.c;x=y",),
            ("  session=a.b.c  ",),
            ("session = a.b.c",),
            ('session="a.b.c"',),
            ("theme=dark", "session=a.b.c"),
            ("theme=dark,session=a.b.c",),  # Envoy, HTTP/1
            ("session=a.b.c, theme=dark",),  # HAProxy
            ("session=a.b.c; session=a.b.c",),
            ('session=a.b.c,session="a.b.c"',),
            ("session=; session=a.b.c",),
            ("session=a.b.c; session",),
        ],
    )
    def test_it_is_found(self, values):
        assert cookie("session").read(values) == TOKEN

    @pytest.mark.parametrize(
        "value",
        [
            "",
            "theme=dark",
            "session",
            "session=",
            'session=""',
            "session=;theme=dark",
            "Session=a.b.c",
            "my-session=a.b.c",
            "session2=a.b.c",
            "theme=session=a.b.c",
            "=session=a.b.c",
            "se ssion=a.b.c",
        ],
    )
    def test_what_is_not_that_cookie_is_absent(self, value):
        assert cookie("session").read((value,)) is None

    @pytest.mark.parametrize(
        "values",
        [
            ("session=a; session=b",),
            ("session=a,session=b",),
            ("session=a, session=b",),
            ("session=a", "session=b"),
            ('session=a;session="b"',),
        ],
    )
    def test_two_values_are_ambiguous(self, values):
        assert reason(cookie("session"), *values) is Reason.CREDENTIALS_AMBIGUOUS

    def test_a_name_is_no_pattern(self):
        assert cookie("a.b+").read(("aXb=1; a.bb=2",)) is None
        assert cookie("a.b+").read(("a.b+=1",)) == "1"

    @pytest.mark.parametrize("name", ["__Host-session", "__Secure-session", "__host-session"])
    def test_a_prefixed_cookie_counts_where_a_browser_puts_it(self, name):
        carrier = cookie(name)
        assert carrier.read((f"a=b; {name}=a.b.c",)) == TOKEN
        assert carrier.read((f"{name}=a.b.c,a=b",)) == TOKEN
        assert reason(carrier, f"a=b,{name}=a.b.c") is Reason.CREDENTIALS_AMBIGUOUS
        assert reason(carrier, f"a=b, {name}=a.b.c") is Reason.CREDENTIALS_AMBIGUOUS


TEXT = st.text(st.sampled_from('session=;, "ab.\t\\é'), max_size=40)


@given(values=st.lists(TEXT, min_size=1, max_size=3).map(tuple))
def test_nothing_but_a_refusal_comes_of_any_header(values):
    for carrier in (BEARER, plain_header("x"), header_with_scheme("x", "a"), cookie("session"), cookie("__Host-s")):
        with suppress(Unauthenticated):
            found = carrier.read(values)
            assert found is None or (found and any(found in value for value in values))


@given(
    pairs=st.lists(st.tuples(st.sampled_from(["session", "a", "b"]), st.text("xyz", max_size=3)), max_size=6),
    joints=st.lists(st.sampled_from(["; ", ";", ",", ", "]), min_size=6, max_size=6),
)
def test_a_cookie_is_the_one_value_that_its_name_has(pairs, joints):
    field = "".join(f"{name}={value}{joint}" for (name, value), joint in zip(pairs, joints, strict=False))
    values = {value for name, value in pairs if name == "session" and value}
    if len(values) > 1:
        assert reason(cookie("session"), field) is Reason.CREDENTIALS_AMBIGUOUS
    else:
        assert cookie("session").read((field,)) == (values.pop() if values else None)
