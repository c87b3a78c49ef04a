"""`authz key`: the key is shown once, the entry is for the file, and both fit each other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from authz.authn.api_keys import ApiKeys
from authz.authn.carriers import plain_header
from authz.cli import UNUSABLE, main
from authz.core.errors import Problem, Unauthenticated
from authz.core.model import EntityUid, Headers
from authz.wiring.api_key_file import KeyFile, read_key_file
from tests.authn.issuing import now_or_never, request_with

SERVICE = 'Shop::Service::"nightly"'


def made(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    """(key, entry)."""
    assert main(["key", *arguments]) == 0
    output = capsys.readouterr()
    return output.err.splitlines()[-1], output.out


def read(folder: Path, *entries: str) -> KeyFile:
    file = folder / "keys.yaml"
    file.write_text("keys:\n" + "".join(entries), encoding="utf-8")
    problems: list[Problem] = []
    found = read_key_file(file, problems)
    assert problems == []
    return found


def test_the_entry_lets_the_key_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, entry = made(capsys, "nightly-1", "--principal", SERVICE, "--parent", 'Shop::Group::"a"')
    other, more = made(capsys, "nightly-2", "--principal", SERVICE)
    keys = read(tmp_path, entry, more).keys
    assert keys["nightly-1"].parents == (EntityUid("Shop::Group", "a"),)
    authenticator = ApiKeys(keys, plain_header("x-api-key"), name="keys")
    for text, id in ((key, "nightly-1"), (other, "nightly-2")):
        identity = now_or_never(authenticator.authenticate(request_with(Headers([("x-api-key", text)]))))
        assert (identity.subject, identity.principal) == (id, EntityUid("Shop::Service", "nightly"))
    with pytest.raises(Unauthenticated):
        now_or_never(authenticator.authenticate(request_with(Headers([("x-api-key", f"{key}A")]))))


def test_the_secret_is_not_in_the_entry(capsys: pytest.CaptureFixture[str]) -> None:
    key, entry = made(capsys, "a", "--principal", SERVICE)
    assert key.removeprefix("authz_a_") not in entry


def test_ids_and_secrets_are_new_each_time(capsys: pytest.CaptureFixture[str]) -> None:
    keys = {made(capsys, "--principal", SERVICE)[0].split("_", 2)[position] for position in (1, 2) for _ in range(5)}
    assert len(keys) == 10


def test_names_that_yaml_reads_in_another_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for id in ("it's", "${env:HOME}", "a: b # c", "é ☃", 'x\\"y', "tab\there"):
        uid = EntityUid("S", id)
        _, entry = made(capsys, "0123", "--principal", str(uid).replace("\t", "\\t"))
        assert read(tmp_path, entry).keys["0123"].principal == uid


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90d", timedelta(days=90)), ("2999-01-01", None), ("2999-01-01T00:00:00Z", None)],
)
def test_expiry(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, expected: timedelta | None) -> None:
    _, entry = made(capsys, "a", "--principal", SERVICE, "--expires", text)
    moment = read(tmp_path, entry).keys["a"].expires_at
    assert moment is not None
    wanted = datetime.now(UTC) + expected if expected is not None else datetime(2999, 1, 1, tzinfo=UTC)
    assert abs(moment - wanted.timestamp()) < 60


@pytest.mark.parametrize(
    "arguments",
    [
        ("A", "--principal", SERVICE),
        ("a_b", "--principal", SERVICE),
        ("a", "--principal", "Shop::Service"),
        ("a", "--principal", SERVICE, "--parent", "x"),
        ("a", "--principal", SERVICE, "--expires", "soon"),
        ("a", "--principal", SERVICE, "--expires", "0d"),
        ("a", "--principal", SERVICE, "--expires", "2001-01-01"),
        ("a", "--principal", SERVICE, "--expires", "2999-02-30"),
    ],
)
def test_what_is_wrong_makes_no_key(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    assert main(["key", *arguments]) == UNUSABLE
    output = capsys.readouterr()
    assert output.out == ""
    assert "authz_" not in output.err
