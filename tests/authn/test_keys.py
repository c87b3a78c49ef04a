"""Which keys are accepted, and which key a token gets."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.authn.jwks import StaticKeys
from authz.authn.keys import (
    MAX_KEYS,
    MAX_KID,
    MAX_RSA_BITS,
    MIN_RSA_BITS,
    KeyRefused,
    Keys,
    key_from_jwk,
    key_from_pem,
    key_from_secret,
    keys_from_jwks,
)
from authz.core.errors import KeysUnavailable, Misconfigured, Reason, Unauthenticated
from tests.authn.issuing import SECRET, b64, jwk, jwks, now_or_never, private_pem, public_pem, static

ALL_RSA = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}


def modulus(bits: int) -> str:
    """An odd number of so many bits: enough of a modulus to be measured."""
    return b64((2 ** (bits - 1) + 1).to_bytes((bits + 7) // 8))


class TestJwk:
    @pytest.mark.parametrize(
        ("key", "algorithms"),
        [
            (jwk("RS256"), {"RS256"}),
            (jwk("RS256", alg=None), ALL_RSA),
            (jwk("PS512"), {"PS512"}),
            (jwk("ES256"), {"ES256"}),
            (jwk("ES256", alg=None), {"ES256"}),
            (jwk("ES384", alg=None), {"ES384"}),
            (jwk("ES512", alg=None), {"ES512"}),
            (jwk("EdDSA"), {"EdDSA"}),
            (jwk("EdDSA", alg=None), {"EdDSA"}),
            (jwk("RS256", use=None, kid=None), {"RS256"}),
            (jwk("RS256", use=None, key_ops=["verify"]), {"RS256"}),
            (jwk("RS256", kid="x" * MAX_KID), {"RS256"}),
            (jwk("RS256") | {"e": b64(b"\xff" * 8)}, {"RS256"}),
            (jwk("RS256") | {"n": modulus(MAX_RSA_BITS)}, {"RS256"}),
            (jwk("RS256", key_ops=["sign", "verify"], x5c=["MIIB"], x5t="x", ext=True), {"RS256"}),
        ],
    )
    def test_public_signature_keys_are_accepted(self, key, algorithms):
        found = key_from_jwk(key)
        assert found is not None
        assert found.algorithms == algorithms
        assert found.kid == key.get("kid")

    @pytest.mark.parametrize(
        "changes",
        [
            {"use": "enc"},
            {"use": "tls"},
            {"use": ["sig"]},
            {"use": None, "key_ops": ["encrypt"]},
            {"key_ops": []},
            {"key_ops": "verify"},
            {"use": None, "alg": "RSA-OAEP"},
            {"use": None, "alg": "RSA-OAEP-256"},
            {"use": None, "alg": "RSA1_5"},
        ],
    )
    def test_keys_for_other_ends_are_none(self, changes):
        assert key_from_jwk(jwk("RS256") | changes) is None

    @pytest.mark.parametrize(
        ("key", "words"),
        [
            ("text", "object"),
            (None, "object"),
            ([], "object"),
            ({}, "expected an RSA key"),
            (jwk("RS256") | {"kty": "rsa"}, "expected an RSA key"),
            (jwk("RS256") | {"kty": ["RSA"]}, "expected an RSA key"),
            (jwk("RS256") | {"kty": "EC"}, "expected an RSA key"),
            (jwk("ES256") | {"crv": "P-384"}, "`alg`"),
            (jwk("ES256", alg=None) | {"crv": "P-384"}, "no key"),
            (jwk("ES256") | {"crv": "secp256k1"}, "expected"),
            (jwk("ES256") | {"crv": ["P-256"]}, "expected"),
            (jwk("ES256") | {"kty": "OKP"}, "expected"),
            (jwk("EdDSA") | {"crv": "X25519"}, "expected"),
            (jwk("Ed448") | {"alg": "EdDSA"}, "expected"),
            (jwk("RS256") | {"alg": "ES256"}, "`alg`"),
            (jwk("RS256") | {"alg": "HS256"}, "`alg`"),
            (jwk("RS256") | {"alg": "none"}, "`alg`"),
            (jwk("RS256") | {"alg": ["RS256"]}, "`alg`"),
            (jwk("RS256") | {"alg": 7}, "`alg`"),
            (jwk("RS256") | {"d": "AQAB"}, "private"),
            (jwk("ES256") | {"d": "AQAB"}, "private"),
            (jwk("EdDSA") | {"d": ""}, "private"),
            ({"kty": "oct", "k": b64(SECRET)}, "private or secret"),
            ({"kty": "oct"}, "expected an RSA key"),
            (jwk("RS256") | {"kid": 7}, "`kid`"),
            (jwk("RS256") | {"kid": "x" * (MAX_KID + 1)}, "`kid`"),
            (jwk("RS256") | {"n": ""}, "no key"),
            (jwk("RS256") | {"n": None}, "no key"),
            (jwk("RS256") | {"n": 7}, "no key"),
            (jwk("RS256") | {"n": "!!"}, "no key"),
            (jwk("RS256") | {"e": "AA"}, "no key"),
            (jwk("RS256") | {"e": "Ag"}, "no key"),
            (jwk("RS256") | {"e": b64(bytes([1] * 9))}, "exponent"),
            (jwk("RS256") | {"n": "A" * 5000}, "at most"),
            (jwk("RS256") | {"n": modulus(MAX_RSA_BITS + 8)}, "bits"),
            (jwk("RS256") | {"n": modulus(MIN_RSA_BITS - 1)}, "bits"),
            (jwk("RS256", "1024"), "2048"),
            (jwk("ES256") | {"x": b64(bytes(32))}, "no key"),
            (jwk("ES256") | {"x": b64(bytes(31))}, "no key"),
            (jwk("ES256") | {"y": None}, "no key"),
            (jwk("EdDSA") | {"x": b64(bytes(31))}, "no key"),
        ],
    )
    def test_others_are_refused(self, key, words):
        with pytest.raises(KeyRefused, match=words):
            key_from_jwk(key)

    @given(
        st.fixed_dictionaries(
            {},
            optional={
                name: st.none() | st.text() | st.integers() | st.booleans() | st.lists(st.text(), max_size=2)
                for name in ("kty", "crv", "alg", "use", "key_ops", "kid", "n", "e", "x", "y", "k", "d")
            },
        ),
        st.sampled_from(["RS256", "ES256", "EdDSA"]),
    )
    def test_no_json_raises_anything_else(self, changes, alg):
        for key in (changes, jwk(alg) | changes):
            with suppress(KeyRefused):
                key_from_jwk(key)

    def test_equal_keys_have_equal_fingerprints_in_any_form(self):
        pem = key_from_pem(public_pem("RS256"))
        found = [key_from_jwk(jwk("RS256")), key_from_jwk(jwk("RS256", kid="other", alg=None))]
        assert {key.fingerprint for key in found if key} == {pem.fingerprint}
        other = key_from_jwk(jwk("RS256", "second"))
        assert other is not None
        assert other.fingerprint != pem.fingerprint

    def test_a_key_does_not_show_itself(self):
        assert SECRET.decode() not in repr(key_from_secret(SECRET))


class TestSet:
    def test_a_bad_key_is_left_out_and_told(self):
        document = {"keys": [jwk("RS256"), jwk("RS256", "1024", kid="weak"), "x", jwk("RS256", kid="e", use="enc")]}
        keys, problems = keys_from_jwks(document)
        assert [key.kid for key in keys] == ["k1"]
        assert [(p.severity, p.message.split(" is ")[0]) for p in problems] == [
            ("warning", "key 2"),
            ("warning", "key 3"),
        ]

    @pytest.mark.parametrize("document", [{}, {"keys": None}, {"keys": {}}, {"keys": "x"}, {"Keys": []}, jwk("RS256")])
    def test_what_is_no_set_is_refused(self, document):
        with pytest.raises(KeyRefused, match="JWK set"):
            keys_from_jwks(document)

    def test_the_number_of_keys_is_bounded(self):
        keys: list[Any] = [jwk("EdDSA", kid=str(n)) for n in range(MAX_KEYS)]
        assert len(keys_from_jwks({"keys": keys})[0]) == MAX_KEYS
        with pytest.raises(KeyRefused, match="101"):
            keys_from_jwks({"keys": [*keys, "x"]})

    def test_one_key_twice_is_one(self):
        keys, problems = keys_from_jwks({"keys": [jwk("RS256"), jwk("RS256")]})
        assert (len(keys), problems) == (1, ())

    def test_two_keys_of_one_id_and_algorithm_do_not_hang_on_their_order(self):
        keys, problems = keys_from_jwks({"keys": [jwk("RS256"), jwk("RS256", "second")]})
        assert (len(keys), len(problems)) == (1, 1)
        both, none = keys_from_jwks({"keys": [jwk("RS256"), jwk("ES256")]})
        assert (len(both), none) == (2, ())

    def test_holds(self):
        keys = static(jwk("RS256")).current()
        assert keys is not None
        (key,) = keys
        assert keys.holds(key.fingerprint, "RS256")
        assert not keys.holds(key.fingerprint, "RS512")
        assert not keys.holds("0" * 64, "RS256")

    @pytest.mark.parametrize(
        ("members", "kid", "alg", "found"),
        [
            ([jwk("RS256", kid="a"), jwk("ES256", kid="b")], "a", "RS256", "a"),
            ([jwk("RS256", kid="a"), jwk("ES256", kid="b")], "b", "RS256", None),
            ([jwk("RS256", kid="a"), jwk("ES256", kid="a")], "a", "ES256", "a"),
            ([jwk("RS256", kid="a")], "A", "RS256", None),
            ([jwk("RS256", kid="a"), jwk("ES256", kid="b")], None, "ES256", "b"),
            ([jwk("RS256", kid="a"), jwk("RS256", "second", kid="b")], None, "RS256", None),
            ([jwk("RS256", kid="a"), jwk("RS256", kid="b")], None, "RS256", "b"),  # one key under two names
            ([], None, "RS256", None),
        ],
    )
    def test_find(self, members, kid, alg, found):
        keys, _ = keys_from_jwks({"keys": members})
        key = keys.find(kid, alg)
        assert (key.kid if key else None) == found

    def test_keys_without_id_serve_any_id_if_only_one_fits(self):
        one = Keys([key_from_pem(public_pem("RS256"))])
        assert one.find("anything", "RS256") is not None
        assert one.find("anything", "ES256") is None
        mixed, _ = keys_from_jwks({"keys": [jwk("RS256", kid="a"), jwk("ES256", kid=None)]})
        assert mixed.find("new", "ES256") is not None
        assert mixed.find("new", "RS256") is None
        two = Keys([key_from_pem(public_pem("RS256")), key_from_pem(public_pem("RS256", "second"))])
        assert two.find("anything", "RS256") is None


class TestPem:
    @pytest.mark.parametrize(
        ("alg", "algorithms"),
        [
            ("RS256", ALL_RSA),
            ("ES256", {"ES256"}),
            ("ES384", {"ES384"}),
            ("ES512", {"ES512"}),
            ("EdDSA", {"EdDSA"}),
        ],
    )
    def test_public_keys_are_accepted(self, alg, algorithms):
        key = key_from_pem(public_pem(alg))
        assert (key.algorithms, key.kid) == (algorithms, None)

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            (b"", "BEGIN PUBLIC KEY"),
            (b"x", "BEGIN PUBLIC KEY"),
            (b"\xff\x00", "BEGIN PUBLIC KEY"),
            (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "BEGIN PUBLIC KEY"),
            (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "BEGIN PUBLIC KEY"),
            (private_pem("RS256"), "private"),
            (private_pem("EdDSA"), "private"),
            (public_pem("RS256", "1024"), "2048"),
            (public_pem("Ed448"), "Ed25519"),
            (public_pem("ES256K"), "P-256, P-384 or P-521"),
        ],
    )
    def test_others_are_refused(self, text, words):
        with pytest.raises(KeyRefused, match=words) as caught:
            key_from_pem(text)
        assert "MII" not in str(caught.value)
        with pytest.raises(Misconfigured, match=words) as told:
            StaticKeys.from_pem(text, file="key.pem")
        assert told.value.problems[0].file == "key.pem"


class TestSecret:
    @pytest.mark.parametrize(
        ("size", "algorithms"),
        [(32, {"HS256"}), (47, {"HS256"}), (48, {"HS256", "HS384"}), (64, {"HS256", "HS384", "HS512"})],
    )
    def test_its_length_says_for_which_algorithms(self, size, algorithms):
        assert key_from_secret(b"s" * size).algorithms == algorithms

    @pytest.mark.parametrize(
        "secret", [b"", b"s" * 31, public_pem("RS256"), private_pem("RS256"), json.dumps(jwk("RS256")).encode()]
    )
    def test_others_are_refused(self, secret):
        with pytest.raises(Misconfigured, match="expected a secret") as caught:
            StaticKeys.from_secret(secret)
        assert not secret or secret.decode() not in str(caught.value)


class TestStatic:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            (b"", "JSON"),
            (b"[]", "object"),
            (b'{"keys": [], "keys": []}', "once"),
            (jwks(), "at least one"),
            (jwks(jwk("RS256", use="enc")), "at least one"),
            (jwks(jwk("RS256"), jwk("RS256", "1024", kid="weak")), "key 2 is left out"),
        ],
    )
    def test_a_file_is_right_or_wrong(self, text, words):
        with pytest.raises(Misconfigured, match=words) as caught:
            StaticKeys.from_jwks(text, file="keys.json")
        assert all((problem.file, problem.severity) == ("keys.json", "error") for problem in caught.value.problems)

    def test_its_keys_are_always_current(self):
        keys = static(jwk("RS256"))
        assert keys.age == 0.0
        assert not keys.symmetric
        assert StaticKeys.from_secret(SECRET).symmetric
        assert now_or_never(keys.key("k1", "RS256")).kid == "k1"

    def test_an_unknown_key_is_the_tokens_fault(self):
        with pytest.raises(Unauthenticated) as caught:
            now_or_never(static(jwk("RS256")).key("k2", "RS256"))
        assert caught.value.reason is Reason.TOKEN_KEY_UNKNOWN
        assert not isinstance(caught.value, KeysUnavailable)
