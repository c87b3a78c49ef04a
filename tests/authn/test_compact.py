"""The Authorization header, and a token's outer form."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.authn.compact import bearer_token, unverified_token
from authz.core.errors import Reason, Unauthenticated
from tests.authn.issuing import b64


class TestHeader:
    @pytest.mark.parametrize(
        "values",
        [
            (),
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
        assert bearer_token(values) is None

    @pytest.mark.parametrize(
        "value", ["Bearer a.b.c", "bearer a.b.c", "BEARER a.b.c", "Bearer   a.b.c", " Bearer a.b.c ", "\tbEaReR a.b.c"]
    )
    def test_the_scheme_is_read_in_any_case(self, value):
        assert bearer_token((value,)) == "a.b.c"

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
        with pytest.raises(Unauthenticated) as caught:
            bearer_token((value,))
        assert caught.value.reason is Reason.TOKEN_MALFORMED

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
        with pytest.raises(Unauthenticated) as caught:
            bearer_token(values)
        assert caught.value.reason is Reason.CREDENTIALS_AMBIGUOUS


OBJECT = b64(b'{"a":1}')


class TestCompact:
    def test_header_and_claims_are_read(self):
        token = unverified_token(f"{b64(b'{}')}.{OBJECT}.")
        assert (token.header, token.claims) == ({}, {"a": 1})
        assert "eyJ" not in repr(token)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            ".",
            "..",
            OBJECT,
            f"{OBJECT}.{OBJECT}",
            f"{OBJECT}.{OBJECT}.s.s",
            f"{OBJECT}.{OBJECT}.s.s.s",  # encrypted (RFC 7516)
            f".{OBJECT}.s",
            f"{OBJECT}..s",
            f"{OBJECT}.{OBJECT}.s s",
            f"{OBJECT} .{OBJECT}.s",
            f"{OBJECT}.{OBJECT}.s\n",
            f"{OBJECT},{OBJECT}.{OBJECT}.s",
            f"{OBJECT}.{OBJECT}.s=",
            f"{OBJECT}=.{OBJECT}.s",
            f"{OBJECT}==.{OBJECT}.s",
            f"{OBJECT}.{OBJECT}.é",
            f"{OBJECT}.{OBJECT}.\ud800",
            f"{OBJECT}.{OBJECT}.a+b/",
            f"{OBJECT[:-1]}.{OBJECT}.s",
            f"{OBJECT}A.{OBJECT}.s",
            f"{b64(b'[]')}.{OBJECT}.s",
            f"{OBJECT}.{b64(b'[]')}.s",
            f"{OBJECT}." + b64(b'"text"') + ".s",
            f"{OBJECT}.{b64(b'')}.s",
            b64(b'{"alg":"RS256","alg":"none"}') + f".{OBJECT}.s",
            f"{OBJECT}." + b64(b'{"sub":"a","sub":"b"}') + ".s",
            f"{OBJECT}." + b64(b'{"a":{"b":1,"b":2}}') + ".s",
            f"{OBJECT}." + b64(b'{"exp":NaN}') + ".s",
            f"{OBJECT}." + b64(b'{"a":"\xff"}') + ".s",
        ],
    )
    def test_anything_else_is_malformed(self, text):
        with pytest.raises(Unauthenticated) as caught:
            unverified_token(text)
        assert caught.value.reason is Reason.TOKEN_MALFORMED
        assert OBJECT not in caught.value.detail

    def test_base64url_has_one_spelling(self):
        # 'e30' is {}; 'e31' decodes to the same two bytes where the last bits are not looked at.
        assert unverified_token("e30.e30.").claims == {}
        with pytest.raises(Unauthenticated, match="canonical"):
            unverified_token("e30.e31.")

    @given(st.dictionaries(st.text(), st.text() | st.integers()))
    def test_any_object_is_read_as_it_is(self, members):
        part = b64(json.dumps(members).encode())
        token = unverified_token(f"{part}.{part}.")
        assert token.header == token.claims == members

    @given(st.text(st.characters()))
    def test_no_text_raises_anything_else(self, text):
        for value in (text, f"Bearer {text}", f"{text},bearer {text}"):
            with suppress(Unauthenticated):
                token = bearer_token((value,))
                if token is not None:
                    unverified_token(token)
