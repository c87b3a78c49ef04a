"""A token's outer form."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.authn.carriers import BEARER
from authz.authn.compact import unverified_token
from authz.core.errors import Reason, Unauthenticated
from tests.authn.issuing import b64

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
                token = BEARER.read((value,))
                if token is not None:
                    unverified_token(token)
