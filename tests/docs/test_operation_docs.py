"""The tables for operators: reason codes, exit codes, commands, metrics, fields of the record."""

from __future__ import annotations

import json
import re

import msgspec
import pytest

from authz import cli
from authz.core.errors import Reason
from authz.observe.decision_metrics import CacheReading, DecidingReading
from authz.observe.metrics import Metrics, PolicySetReading, Readings, TokenCacheReading
from authz.observe.redact import Line
from tests.docs.pages import CODE, FENCE, rows, text_of

# --- reason codes -----------------------------------------------------------------------------------------


def reasons() -> dict[str, str]:
    """Code → status."""
    chapters = ("Allowed", "Refused requests", "Denied before a decision", "Denied by decision", "Failures")
    found = [cells for chapter in chapters for cells in rows("docs/reasons.md", chapter, 2)]
    assert len(found) == len({cells[0] for cells in found}), "a code stands twice"
    return {cells[0].strip("`"): cells[1] for cells in found}


def test_every_reason_code_is_explained_and_no_other() -> None:
    assert set(reasons()) == {reason.value for reason in Reason}


def test_reason_codes_have_the_status_of_their_kind() -> None:
    for code, status in reasons().items():
        if code in {"allowed", "fail_open"}:
            expected = "200"
        elif code.startswith("bad_") or code == "too_large":
            expected = "400"
        elif code.startswith(("token_", "credentials_", "api_key_", "certificate_")) or code == "no_credentials":
            expected = "401"
        elif code.startswith("policy_") or code in {"untrusted_peer", "no_route"}:
            expected = "403"
        else:
            expected = "500" if code == "internal" else "503"
        assert status == expected, code


# --- operation --------------------------------------------------------------------------------------------


def test_exit_codes_are_those_of_the_command_line() -> None:
    told = {int(cells[0]) for cells in rows("docs/operate.md", "Exit codes", 1)}
    assert told == {cli.OK, cli.FAILED, cli.UNUSABLE, cli.INTERRUPTED}


def test_commands_are_those_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    told = {cells[0].split()[1] for cells in rows("docs/operate.md", "Commands", 1)}
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert told == set(re.findall(r"^ {4}([\w-]+)(?: |$)", capsys.readouterr().out, re.MULTILINE))


DECIDING = DecidingReading(
    calls={("IsAuthorized", "answered"): 1},
    throttled=0,
    snapshot_writes={"written": 1},
    cache=CacheReading(),
    fallback={("first", ""): 1},
    fallback_open=False,
    parity={"agreed": 1},
    parity_alarm=False,
    saved_calls=1,
)
"""Of all parts that there may be."""


def test_metrics_are_those_that_are_exported() -> None:
    metrics = Metrics(
        readings=Readings(
            token_cache=lambda: TokenCacheReading(0, 0, 0),
            policy_set=lambda: PolicySetReading("v", 0.0),
            in_flight=lambda: 0,
            deciding=lambda: DECIDING,
        )
    )
    exported = dict(re.findall(r"^# TYPE (authz_\w+) (\w+)$", metrics.render()[0].decode(), re.MULTILINE))
    table = rows("docs/operate.md", "Metrics", 3)[: len(exported)]
    assert {cells[0].strip("`"): cells[1] for cells in table} == exported
    labels = {cells[0].strip("`"): set(CODE.findall(cells[2])) for cells in table}
    for family in metrics.collect():
        name = next(name for name in exported if name in {family.name, f"{family.name}_total", f"{family.name}_info"})
        expected = {"version"} if name.endswith("_info") else set(getattr(family, "_labelnames", ()))
        assert labels[name] == expected, name
    used = {name for cells in rows("docs/operate.md", "Metrics", 2) for name in re.findall(r"authz_\w+", cells[1])}
    assert used <= set(exported)


def test_fields_of_the_record_are_those_that_are_written() -> None:
    table = rows("docs/operate.md", "The decision record", 1)
    told = [name for cells in table for name in CODE.findall(cells[0])]
    assert sorted(told) == sorted(field.name for field in msgspec.structs.fields(Line))
    [example] = [
        json.loads(match[2]) for match in FENCE.finditer(text_of("docs/operate.md")) if '"decision"' in match[2]
    ]
    assert msgspec.convert(example, Line)
