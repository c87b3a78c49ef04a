"""Known attacks on token verification, one named test for each."""

import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from authz.authn.jwks import StaticKeys
from authz.core.errors import Misconfigured, Reason, Unauthenticated
from tests.authn.issuing import (
    ISSUER,
    SECRET,
    asking,
    b64,
    bearing,
    claims,
    issuer,
    jwk,
    now_or_never,
    private_key,
    public_pem,
    signature,
    signed,
    source,
    static,
    tokens,
)


def reason(token: str, *issuers: Any, **settings: Any) -> Reason:
    with pytest.raises(Unauthenticated) as caught:
        now_or_never(tokens(*issuers, **settings).authenticate(bearing(token)))
    return caught.value.reason


@pytest.mark.parametrize("alg", ["none", "None", "nOnE", "NONE"])
@pytest.mark.parametrize("sign", ["", "AAAA"])
def test_alg_none(alg, sign):
    """RFC 8725, section 2.1; CVE-2015-2951."""
    header = b64(json.dumps({"alg": alg, "kid": "k1"}).encode())
    assert reason(f"{header}.{b64(json.dumps(claims()).encode())}.{sign}") is Reason.TOKEN_ALGORITHM


@pytest.mark.parametrize(
    "secret", [public_pem("RS256"), public_pem("RS256").strip(), json.dumps(jwk("RS256")).encode()]
)
@pytest.mark.parametrize("allowed", [{"RS256"}, {"RS256", "RS384", "PS256", "ES256"}])
def test_public_key_as_hmac_secret(secret, allowed):
    """RS256 → HS256 confusion (CVE-2016-5431, CVE-2022-29217)."""
    text = b64(b'{"alg":"HS256","kid":"k1"}') + "." + b64(json.dumps(claims()).encode())
    forged = f"{text}.{b64(hmac.digest(secret, text.encode(), 'sha256'))}"
    assert reason(forged, issuer(algorithms=frozenset(allowed))) is Reason.TOKEN_ALGORITHM


def test_signature_stripping():
    head, body, _ = signed().split(".")
    assert reason(f"{head}.{body}.") is Reason.TOKEN_SIGNATURE
    assert reason(f"{head}.{body}") is Reason.TOKEN_MALFORMED


@pytest.mark.parametrize("kid", ["../../../dev/null", "k1/../k2", "' UNION SELECT 'k'--", "|id", "k1\nk2"])
def test_kid_injection(kid):
    assert reason(signed(header={"kid": kid})) is Reason.TOKEN_KEY_UNKNOWN


@pytest.mark.parametrize(
    "smuggled",
    [
        {"jwk": jwk("RS256", "second", kid="evil")},
        {"jku": "https://evil.example.com/jwks.json"},
        {"x5u": "https://evil.example.com/cert.pem"},
        {"x5c": ["MIIB"]},
        {"x5t": "AAAA", "x5t#S256": "AAAA"},
    ],
)
def test_keys_in_the_header_are_ignored(smuggled):
    """CVE-2018-0114: a key that the token brings along."""
    assert reason(signed(name="second", header=smuggled)) is Reason.TOKEN_SIGNATURE
    assert reason(signed(name="second", header=smuggled | {"kid": "evil"})) is Reason.TOKEN_KEY_UNKNOWN
    assert now_or_never(tokens().authenticate(bearing(signed(header=smuggled)))) is not None


def test_psychic_signature():
    """CVE-2022-21449: an ECDSA signature of zeros."""
    ec = issuer(keys=static(jwk("ES256")), algorithms=frozenset({"ES256"}))
    head, body, _ = signed(alg="ES256").split(".")
    assert reason(f"{head}.{body}.{b64(bytes(64))}", ec) is Reason.TOKEN_SIGNATURE


def test_der_signature_instead_of_raw():
    """RFC 7518, section 3.4: R and S side by side, nothing else."""
    ec = issuer(keys=static(jwk("ES256")), algorithms=frozenset({"ES256"}))
    head, body, _ = signed(alg="ES256").split(".")
    raw = signature(f"{head}.{body}".encode(), "ES256")
    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    assert reason(f"{head}.{body}.{b64(der)}", ec) is Reason.TOKEN_SIGNATURE


@pytest.mark.parametrize(
    "header",
    [b'{"alg":"RS256","kid":"k1","alg":"none"}', b'{"alg":"none","kid":"k1","alg":"RS256"}'],
)
def test_duplicate_header_names(header):
    assert reason(signed(header=header)) is Reason.TOKEN_MALFORMED


def test_duplicate_claims():
    body = json.dumps(claims())[:-1] + ', "sub": "admin"}'
    assert reason(signed(body.encode())) is Reason.TOKEN_MALFORMED


@pytest.mark.parametrize("space", [" ", "\n", "\t", "\r", "\x0b", "\u00a0", "="])
@pytest.mark.parametrize("part", [0, 1, 2])
def test_odd_characters_in_base64(space, part):
    """Two spellings of one token would slip past a deny list of tokens, and double the cache."""
    parts = signed().split(".")
    parts[part] = parts[part][:4] + space + parts[part][4:]
    assert reason(".".join(parts)) is Reason.TOKEN_MALFORMED


def test_non_canonical_signature():
    token = signed()  # 256 bytes: the last character carries four bits that do not count
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twin = token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1]
    assert reason(twin) is Reason.TOKEN_MALFORMED


def test_encrypted_token():
    """Five parts are a JWE (RFC 7516): no signature vouches for its issuer."""
    assert (
        reason(".".join([b64(b'{"alg":"RSA-OAEP","enc":"A256GCM"}'), "AA", "AA", "AA", "AA"])) is Reason.TOKEN_MALFORMED
    )


def test_nested_token():
    inner = signed()
    assert reason(signed(inner.encode(), header={"cty": "JWT"})) is Reason.TOKEN_MALFORMED


def test_oversize():
    assert reason(signed(claims(padding="x" * 20_000))) is Reason.TOKEN_TOO_LARGE


def test_deeply_nested_claims():
    body = json.dumps(claims())[:-1] + ', "a": ' + "[" * 5000 + "]" * 5000 + "}"
    assert reason(signed(body.encode())) is Reason.TOKEN_MALFORMED


def test_id_token_as_access_token():
    """RFC 9068, section 5: told apart by `typ`, by audience, by Cognito's `token_use`."""
    id_token = claims(aud="web-client", nonce="n", at_hash="h")
    assert reason(signed(id_token)) is Reason.TOKEN_AUDIENCE
    strict = issuer(types=frozenset({"at+jwt"}), audiences=frozenset())
    assert reason(signed(id_token), strict) is Reason.TOKEN_TYPE
    pool = issuer(cognito=True, audiences=frozenset({"web-client"}))
    assert reason(signed(id_token | {"token_use": "id"}), pool) is Reason.TOKEN_TYPE


def test_access_token_as_id_token():
    terms = issuer(source=source(token="id"))
    assert reason(signed(header={"typ": "at+jwt"}), terms) is Reason.TOKEN_TYPE
    assert reason(signed(claims(token_use="access")), terms) is Reason.TOKEN_TYPE


def test_key_of_one_issuer_for_tokens_of_another():
    """RFC 8725, section 3.8: each issuer has keys of its own, also where the key ids are the same."""
    other = issuer(issuer="https://other.example.com", keys=static(jwk("RS256", "second")))
    crossed = signed(claims(iss=other.issuer))
    assert reason(crossed, issuer(), other) is Reason.TOKEN_SIGNATURE


def test_issuers_with_and_without_a_secret_do_not_mix():
    shared = issuer(
        issuer="https://other.example.com", keys=StaticKeys.from_secret(SECRET), algorithms=frozenset({"HS256"})
    )
    assert reason(signed(alg="HS256"), issuer(), shared) is Reason.TOKEN_ALGORITHM
    assert reason(signed(claims(iss=shared.issuer)), issuer(), shared) is Reason.TOKEN_ALGORITHM


@pytest.mark.parametrize("aud", ["ap", "api2", "my-api", "api/", "a", "", ["a", "p", "i"], "other api"])
def test_audience_is_no_substring(aud):
    assert reason(signed(claims(aud=aud))) is Reason.TOKEN_AUDIENCE


@pytest.mark.parametrize("iss", [f"{ISSUER}.evil.com", f"{ISSUER}/", f"{ISSUER}#", f"{ISSUER}\x00", "https://login"])
def test_issuer_is_no_prefix(iss):
    assert reason(signed(claims(iss=iss))) is Reason.TOKEN_ISSUER


def test_list_of_issuers():
    """CVE-2024-53861 and its like: membership where equality is meant."""
    assert reason(signed(claims(iss=[ISSUER]))) is Reason.TOKEN_ISSUER


def test_weak_rsa_key_is_never_loaded():
    weak = private_key("RS256", "1024").public_key()
    document = jwt.get_algorithm_by_name("RS256").to_jwk(weak, as_dict=True) | {"kid": "weak"}
    document.pop("key_ops")
    with pytest.raises(Misconfigured, match="2048"):
        static(document)


def test_bearer_beside_basic():
    with pytest.raises(Unauthenticated) as caught:
        now_or_never(tokens().authenticate(asking(f"Basic dTpw, Bearer {signed()}")))
    assert caught.value.reason is Reason.CREDENTIALS_AMBIGUOUS
