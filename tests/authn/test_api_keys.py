"""API keys: what is accepted, and every reason for which one is not."""

import hmac
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.authn.api_keys import MIN_SECRET, SECRET_BYTES, ApiKey, ApiKeys, new_key
from authz.authn.carriers import plain_header
from authz.authn.revocation import DenyList
from authz.core.errors import Reason, Unauthenticated
from authz.core.model import Entity, EntityUid, Headers
from tests.authn.issuing import NOW, Clock, now_or_never, request_with

SERVICE = EntityUid("Shop::Service", "reporting")
BATCH = EntityUid("Shop::Group", "batch")
NEW = new_key("reporting-1")


def entry(new=NEW, id="reporting-1", **changes):
    return ApiKey(**{"id": id, "digest": bytes.fromhex(new.digest), "principal": SERVICE} | changes)


def keys(*entries, **settings):
    entries = entries or (entry(),)
    clock = settings.pop("now", Clock())
    carrier = plain_header("x-api-key")
    return ApiKeys({key.id: key for key in entries}, carrier, name="keys", now=clock, **settings)


def check(authenticator, text):
    return now_or_never(authenticator.authenticate(request_with(Headers([("X-Api-Key", text)]))))


def refusal(authenticator, text):
    with pytest.raises(Unauthenticated) as caught:
        check(authenticator, text)
    assert caught.value.status == 401
    assert caught.value.scheme == "ApiKey"
    return caught.value.reason


def test_the_identity():
    key = entry(parents=(BATCH,), attributes={"team": "data"}, expires_at=NOW + 1)
    found = check(keys(key), NEW.text)
    assert (found.scheme, found.issuer, found.subject) == ("api_key", "keys", "reporting-1")
    assert (found.principal, found.expires_at, dict(found.claims), found.token) == (SERVICE, NOW + 1, {}, None)
    principal, parent = found.entities.entities
    assert principal == Entity(uid=SERVICE, attributes={"team": "data"}, parents=frozenset({BATCH}))
    assert parent == Entity(uid=BATCH)


def test_two_keys_of_one_principal_can_follow_each_other():
    second = new_key("reporting-2")
    both = keys(entry(), entry(second, "reporting-2"))
    assert check(both, NEW.text).principal == check(both, second.text).principal
    assert refusal(keys(entry(second, "reporting-2")), NEW.text) is Reason.API_KEY_INVALID


SECRET = NEW.text.removeprefix("authz_reporting-1_")


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        f"reporting-1_{SECRET}",
        f"authz_reporting-1_{SECRET[:-1]}",
        f"authz_reporting-1_{SECRET}A",
        f"authz_reporting-1_{SECRET.swapcase()}",
        f"authz_reporting-2_{SECRET}",
        f"authz_Reporting-1_{SECRET}",
        f"AUTHZ_reporting-1_{SECRET}",
        f"authz_reporting-1__{SECRET}",
        f"authz_reporting-1_{SECRET}=",
        f"authz_reporting-1 {SECRET}",
        f"authz__{SECRET}",
        f"Bearer {NEW.text}",
        f"authz_reporting-1_{NEW.digest}",  # the hash is no key
        "authz_reporting-1_short",
        "authz_reporting-1_" + "a" * 4096,
        "authz_reporting-1_" + "ä" * MIN_SECRET,
    ],
    ids=lambda _: "key",  # the secret is drawn anew in each process, and names must not differ
)
def test_anything_else_is_invalid(text):
    assert refusal(keys(), text) is Reason.API_KEY_INVALID


class TestExpiry:
    def test_it_ends_at_its_moment(self):
        clock = Clock()
        authenticator = keys(entry(expires_at=NOW + 60), now=clock)
        assert check(authenticator, NEW.text) is not None
        clock.time = NOW + 60
        assert refusal(authenticator, NEW.text) is Reason.API_KEY_EXPIRED

    def test_only_who_has_the_secret_learns_of_it(self):
        other = f"authz_reporting-1_{'A' * MIN_SECRET}"
        assert refusal(keys(entry(expires_at=NOW - 1)), other) is Reason.API_KEY_INVALID


@pytest.mark.parametrize("text", ['subjects: ["reporting-1"]', 'issuers: {keys: {subjects: ["reporting-1"]}}'])
def test_the_deny_list_names_keys_by_id(text):
    assert refusal(keys(deny_list=DenyList.parse(text)), NEW.text) is Reason.API_KEY_INVALID


@pytest.mark.parametrize("text", ['subjects: ["reporting"]', 'issuers: {other: {subjects: ["reporting-1"]}}'])
def test_the_deny_list_of_others_does_not_touch_it(text):
    assert check(keys(deny_list=DenyList.parse(text)), NEW.text) is not None


class TestNewKey:
    def test_its_secret_is_32_random_bytes(self):
        texts = {new_key("a").text for _ in range(50)}
        assert len(texts) == 50
        assert all(len(text.removeprefix("authz_a_")) == MIN_SECRET for text in texts)
        assert SECRET_BYTES == 32

    def test_its_hash_is_that_of_the_secret_alone(self):
        assert NEW.digest == sha256(SECRET.encode()).hexdigest()

    @pytest.mark.parametrize("id", ["", "A", "a_b", "-a", "a-", "a b", "a" * 65, "ä", "a\n"])
    def test_an_id_that_a_key_could_not_carry_is_refused(self, id):
        with pytest.raises(ValueError, match="lower-case"):
            new_key(id)

    @given(id=st.from_regex(r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?", fullmatch=True))
    def test_every_key_is_read_back(self, id):
        made = new_key(id)
        assert check(keys(entry(made, id)), made.text).subject == id


class TestSecrecy:
    def test_comparison_takes_the_same_time_for_any_secret(self, monkeypatch):
        """Digests are compared by `hmac.compare_digest`, for an unknown id too."""
        compared = []

        def compare(one, other):
            compared.append((len(one), len(other)))
            return False

        monkeypatch.setattr(hmac, "compare_digest", compare)
        for id in ("reporting-1", "nobody"):
            assert refusal(keys(), f"authz_{id}_{SECRET}") is Reason.API_KEY_INVALID
        assert compared == [(32, 32), (32, 32)]

    def test_an_unknown_id_never_passes_whatever_the_comparison_says(self, monkeypatch):
        monkeypatch.setattr(hmac, "compare_digest", lambda *_: True)
        assert refusal(keys(), f"authz_nobody_{SECRET}") is Reason.API_KEY_INVALID

    def test_neither_secret_nor_hash_is_shown(self):
        authenticator = keys()
        assert SECRET not in f"{NEW!r} {authenticator!r} {check(authenticator, NEW.text)!r}"
        assert "digest" not in repr(entry())
