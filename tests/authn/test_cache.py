"""Verified tokens are remembered, and asked each time whether they still count."""

import pytest

from authz.authn.jwt import PLACE
from authz.authn.keys import Keys, VerificationKey
from authz.authn.revocation import DenyList
from authz.core.errors import AuthzError, KeysUnavailable, Reason, Unauthenticated
from tests.authn.issuing import NOW, Clock, bearing, claims, issuer, jwk, now_or_never, signed, static, tokens


class Rotating:
    """A key set whose keys are changed by the test."""

    symmetric = False
    age = 0.0

    def __init__(self, *names: str) -> None:
        self.keys: Keys | None = None
        self.asked = 0
        self.publish(*names)

    def publish(self, *names: str) -> None:
        self.keys = static(*(jwk("RS256", name, kid=name) for name in names)).current()

    def current(self) -> Keys | None:
        return self.keys

    async def key(self, kid: str | None, alg: str) -> VerificationKey:
        self.asked += 1
        if self.keys is None:
            raise KeysUnavailable("no keys")
        return self.keys.require(kid, alg)


def check(authenticator, token):
    return now_or_never(authenticator.authenticate(bearing(token)))


def reason(authenticator, token):
    with pytest.raises(AuthzError) as caught:
        check(authenticator, token)
    return caught.value.reason


class TestHit:
    def test_the_same_token_is_the_same_object(self):
        authenticator, token = tokens(), signed()
        first = check(authenticator, token)
        assert check(authenticator, token) is first
        assert check(authenticator, f"  {token} ") is first
        assert (authenticator.verifier.hits, authenticator.verifier.misses, authenticator.verifier.remembered) == (
            2,
            1,
            1,
        )

    def test_another_token_of_the_same_claims_is_another(self):
        authenticator = tokens()
        assert check(authenticator, signed()) is not check(authenticator, signed(header={"typ": "at+jwt"}))

    def test_a_bad_token_is_not_remembered(self):
        authenticator = tokens()
        for _ in range(2):
            assert reason(authenticator, signed(name="second")) is Reason.TOKEN_SIGNATURE
        assert (authenticator.verifier.hits, authenticator.verifier.misses, authenticator.verifier.remembered) == (
            0,
            2,
            0,
        )


class TestExpiry:
    def test_nothing_is_served_at_or_beyond_exp_and_leeway(self):
        clock = Clock()
        authenticator, token = tokens(issuer(leeway=30.0), now=clock), signed(claims(exp=NOW + 300))
        first = check(authenticator, token)
        clock.time = NOW + 329.999
        assert check(authenticator, token) is first
        clock.time = NOW + 330
        for _ in range(2):
            assert reason(authenticator, token) is Reason.TOKEN_EXPIRED
        assert authenticator.verifier.remembered == 0

    def test_it_is_told_the_expiry_without_the_leeway(self):
        assert check(tokens(), signed(claims(exp=NOW + 300))).expires_at == NOW + 300


class TestKeyRotation:
    def test_a_token_is_dropped_when_its_key_leaves_the_set(self):
        keys = Rotating("first", "second")
        authenticator = tokens(issuer(keys=keys))
        old, new = signed(header={"kid": "first"}), signed(header={"kid": "second"}, name="second")
        was = check(authenticator, new)
        check(authenticator, old)
        keys.publish("second", "third")
        assert reason(authenticator, old) is Reason.TOKEN_KEY_UNKNOWN
        assert check(authenticator, new) is was
        assert authenticator.verifier.remembered == 1

    def test_a_key_replaced_under_the_same_id_counts_as_gone(self):
        keys = Rotating("first")
        authenticator, token = tokens(issuer(keys=keys)), signed(header={"kid": "first"})
        check(authenticator, token)
        keys.keys = static(jwk("RS256", "second", kid="first")).current()
        assert reason(authenticator, token) is Reason.TOKEN_SIGNATURE

    def test_a_key_that_no_longer_serves_the_algorithm_counts_as_gone(self):
        keys = Rotating("first")
        authenticator, token = tokens(issuer(keys=keys)), signed(header={"kid": "first"})
        check(authenticator, token)
        keys.keys = static(jwk("PS256", "first", kid="first")).current()
        assert reason(authenticator, token) is Reason.TOKEN_KEY_UNKNOWN

    def test_an_equal_set_read_again_keeps_it(self):
        keys = Rotating("first")
        authenticator, token = tokens(issuer(keys=keys)), signed(header={"kid": "first"})
        first = check(authenticator, token)
        keys.publish("first")
        assert check(authenticator, token) is first
        assert authenticator.verifier.misses == 1

    def test_without_current_keys_nothing_is_served(self):
        keys = Rotating("first")
        authenticator, token = tokens(issuer(keys=keys)), signed(header={"kid": "first"})
        first = check(authenticator, token)
        keys.keys = None
        assert reason(authenticator, token) is Reason.KEYS_UNAVAILABLE
        assert keys.asked == 1
        keys.publish("first")
        assert check(authenticator, token) is first


class TestDenyList:
    @pytest.mark.parametrize(
        "text",
        [
            'jti: ["t-1"]',
            'subjects: ["u-1"]',
            'issuers: {"https://login.example.com": {jti: ["t-1"]}}',
            'issuers: {"https://login.example.com": {subjects: ["u-1"]}}',
        ],
    )
    def test_it_counts_at_once_for_new_and_remembered_tokens(self, text):
        authenticator, token = tokens(), signed(claims(jti="t-1"))
        first = check(authenticator, token)
        authenticator.verifier.deny_list = DenyList.parse(text)
        for _ in range(2):
            assert reason(authenticator, token) is Reason.TOKEN_REVOKED
        assert reason(tokens(deny_list=DenyList.parse(text)), token) is Reason.TOKEN_REVOKED
        authenticator.verifier.deny_list = DenyList()
        assert check(authenticator, token) is first

    @pytest.mark.parametrize(
        "text",
        [
            "{}",
            'jti: ["u-1", "T-1", "t-1 "]',
            'subjects: ["t-1", "u-11"]',
            'issuers: {"https://other.example.com": {jti: ["t-1"], subjects: ["u-1"]}}',
        ],
    )
    def test_others_are_not_touched(self, text):
        authenticator, token = tokens(deny_list=DenyList.parse(text)), signed(claims(jti="t-1"))
        assert check(authenticator, token) is check(authenticator, token)

    def test_a_denied_token_is_denied_from_its_first_use(self):
        authenticator = tokens(deny_list=DenyList.parse('subjects: ["u-1"]'))
        for _ in range(2):
            assert reason(authenticator, signed()) is Reason.TOKEN_REVOKED

    def test_no_subject_is_named_to_the_log(self):
        authenticator = tokens(deny_list=DenyList.parse('subjects: ["u-1"]'))
        with pytest.raises(Unauthenticated) as caught:
            check(authenticator, signed())
        assert "u-1" not in caught.value.detail
        assert "u-1" not in repr(authenticator.verifier.deny_list)


class TestBounds:
    def test_the_least_recently_used_goes_first(self):
        authenticator = tokens(cache_size=2)
        one, two, three = (signed(claims(sub=f"u-{n}")) for n in range(3))
        first = check(authenticator, one)
        check(authenticator, two)
        assert check(authenticator, one) is first
        check(authenticator, three)
        assert check(authenticator, one) is first
        assert (authenticator.verifier.remembered, authenticator.verifier.misses) == (2, 3)
        check(authenticator, two)
        assert authenticator.verifier.misses == 4

    def test_a_large_token_takes_more_room(self):
        authenticator = tokens(cache_size=3)
        large = signed(claims(padding="x" * (2 * PLACE)))
        small = [signed(claims(sub=f"u-{n}")) for n in range(3)]
        for token in (*small, large):
            check(authenticator, token)
        assert authenticator.verifier.remembered == 1

    def test_a_token_larger_than_the_cache_is_verified_each_time(self):
        authenticator = tokens(cache_size=1)
        large = signed(claims(padding="x" * PLACE))
        for _ in range(2):
            assert check(authenticator, large) is not None
        assert (authenticator.verifier.remembered, authenticator.verifier.misses) == (0, 2)
