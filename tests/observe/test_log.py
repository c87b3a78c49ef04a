"""The operational log: what it says, what it never says, and that it stops nobody."""

import asyncio
import fcntl
import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from authz.core.errors import KeysUnavailable, Misconfigured, Problem, Reason, Unauthenticated
from authz.core.model import Credential, EntityUid, Headers, Stage
from authz.observe.log import _Bridge, configure
from authz.observe.scrub import MAX_MESSAGE, REDACTED, scrub
from tests.observe.making import identity, request

SECRET = "canary-7f3a"
JWT = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.c2ln"

Said = Callable[[], list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Logging as it was: `configure` is for a process of its own."""
    root, ours = logging.getLogger(), logging.getLogger("authz")
    levels = root.level, ours.level
    yield
    for handler in root.handlers[:]:
        if isinstance(handler, _Bridge):
            root.removeHandler(handler)
            handler.close()
    root.setLevel(levels[0])
    ours.setLevel(levels[1])
    structlog.reset_defaults()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def into(log: Path, **setting: Any) -> Said:
    # pytest listens too, and would say what must not be said.
    logging.getLogger().handlers.clear()
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    configure(fd=fd, **setting)
    return lambda: [json.loads(line) for line in log.read_text().splitlines()]


# --- what a line is


def test_a_line_is_json_with_time_level_logger_and_event_first(log: Path):
    said = into(log)
    structlog.get_logger("authz.serve").info("serving", http="127.0.0.1:9191", seconds=0.25)
    (line,) = said()
    assert list(line) == ["time", "level", "logger", "event", "http", "seconds"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line.pop("time"))
    assert line == {
        "level": "info",
        "logger": "authz.serve",
        "event": "serving",
        "http": "127.0.0.1:9191",
        "seconds": 0.25,
    }


def test_text_is_for_people_and_has_no_colour_outside_a_terminal(log: Path):
    into(log, form="text")
    structlog.get_logger("authz.serve").warning("reload rejected", file="a.cedar", line=3)
    try:
        raise KeysUnavailable("no key set yet")
    except KeysUnavailable:
        structlog.get_logger().exception("keys")
    text = log.read_text()
    assert "\x1b" not in text
    assert re.search(r"\[warning *\] reload rejected .*file=a.cedar.*line=3", text)
    assert "no key set yet" in text


def test_text_on_a_terminal_is_coloured():
    master, slave = os.openpty()
    configure(fd=slave, form="text")
    structlog.get_logger().warning("look")
    assert b"\x1b[" in os.read(master, 4096)
    os.close(slave)
    os.close(master)


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_only_the_level_asked_for_and_above_is_said_whichever_way_it_is_logged(
    log: Path, level: str, expected: list[str]
):
    said = into(log, level=level)
    for name in ("debug", "info", "warning", "error"):
        getattr(structlog.get_logger(), name)("structlog")
        getattr(logging.getLogger("authz.servers.admin"), name)("logging")
    assert [(line["level"], line["event"]) for line in said()] == [
        (name, way) for name in expected for way in ("structlog", "logging")
    ]


@pytest.mark.parametrize("setting", [{"level": "loud"}, {"form": "xml"}])
def test_other_settings_are_refused(setting: dict[str, str]):
    with pytest.raises(ValueError, match="expected debug, info, warning or error; json or text"):
        configure(**setting)  # type: ignore[arg-type]


def test_configuring_again_replaces_what_was(tmp_path: Path):
    first, second = into(tmp_path / "1"), into(tmp_path / "2")
    structlog.get_logger().info("structlog")
    logging.getLogger("authz").warning("logging")
    assert first() == []
    assert [line["event"] for line in second()] == ["structlog", "logging"]


# --- what is never said


@pytest.mark.parametrize(
    "key",
    [
        "authorization", "Authorization", "proxy-authorization", "x_authorization", "token", "access_token", "idToken",
        "cookie", "Set-Cookie", "cookies", "client_secret", "password", "credential", "credentials", "jwt", "claims",
        "headers", "header", "api_key", "x-api-key", "apikey", "private_key", "hash_key", "client_assertion",
    ],
)  # fmt: skip
def test_what_is_named_as_a_secret_is_redacted_at_any_depth(log: Path, key: str):
    said = into(log)
    structlog.get_logger().info("e", **{key: SECRET}, nested={key: [SECRET]}, listed=[{key: {"a": SECRET}}])
    (line,) = said()
    assert SECRET not in str(line)
    assert line[key] == line["nested"][key] == line["listed"][0][key] == REDACTED


@pytest.mark.parametrize(("key", "value"), [("token_cache_hits", 9), ("tokens", 3), ("reason", "token_expired")])
def test_what_only_sounds_like_a_secret_is_said(log: Path, key: str, value: object):
    said = into(log)
    structlog.get_logger().info("e", **{key: value})
    assert said()[0][key] == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"got {JWT}", f"got {REDACTED}"),
        (f"Authorization: Bearer {'s' * 20}", f"Authorization: Bearer {REDACTED}"),
        (f"basic  {'dXNlcjpwYXNz' * 2}=", f"basic  {REDACTED}"),
        ("expected a bearer token", "expected a bearer token"),
        (f"key authz_nightly-1_{'s' * 43}, please", f"key authz_nightly-1_{REDACTED}, please"),
        ("line one\nline two\x1b[2J", "line one line two [2J"),
        ("a\ud800b\u2028c", "a\ufffdb\ufffdc"),
        ("x" * 2000, "x" * (MAX_MESSAGE - 1) + "…"),
    ],
)
def test_text_is_bounded_and_what_looks_like_a_credential_is_cut_out(log: Path, text: str, expected: str):
    said = into(log)
    structlog.get_logger().info(text, other=text)
    (line,) = said()
    assert line["event"] == line["other"] == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (2**70, "<too large>"),
        (Stage.MAP, "map"),
        (Reason.DEADLINE, "deadline"),
        (EntityUid("T", "a"), 'T::"a"'),
        (Path("a/b"), "a/b"),
        (Problem(message="bad", file="a.yaml", line=2), "a.yaml:2: bad"),
        ((1, [2, {"k": 3}]), [1, [2, {"k": 3}]]),
        ([[[["x"]]]], [[["<too deep>"]]]),
        (list(range(99)), list(range(32))),
        (SECRET.encode(), "<bytes>"),
        (Headers([("cookie", SECRET)]), "<Headers>"),
        (Credential(kind="access", secret=SECRET), "<Credential>"),
        (request(), "<Request>"),
        (identity(), "<Identity>"),
    ],
    ids=repr,
)
def test_only_plain_values_are_said_in_full(log: Path, value: object, expected: object):
    said = into(log)
    structlog.get_logger().info("e", value=value)
    assert said()[0]["value"] == expected


anything = st.recursive(st.text(max_size=20) | st.integers() | st.binary(max_size=3), st.lists, max_leaves=5)


@given(st.dictionaries(st.text(max_size=5), anything, max_size=4))
def test_anything_can_be_scrubbed_and_encoded(event: dict[str, Any]):
    json.dumps(scrub(None, "info", dict(event)))


def raising(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as caught:  # noqa: BLE001
        return caught


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError(SECRET), None),
        (KeyError(SECRET), None),
        (OSError(111, "Connection refused", f"/run/{SECRET}"), "Connection refused"),
        (KeysUnavailable("the key set is too old"), "the key set is too old"),
        (Unauthenticated(Reason.TOKEN_EXPIRED), "token_expired"),
        (Misconfigured((Problem(message="unknown key `x`", file="a.yaml", line=1),)), "a.yaml:1: unknown key `x`"),
    ],
)
def test_an_exception_is_told_by_type_and_place_and_by_its_message_only_where_that_is_safe(
    log: Path, error: BaseException, message: str | None
):
    said = into(log)
    structlog.get_logger().error("failed", exc_info=raising(error), value=error)
    (line,) = said()
    assert SECRET not in str(line)
    assert line["raised"]["type"] == type(error).__name__
    assert line["raised"].get("message") == message
    assert re.fullmatch(r"observe/test_log\.py:\d+ raising", line["raised"]["at"][-1])


def test_causes_are_told_a_few(log: Path):
    said = into(log)
    error: BaseException = ValueError(SECRET)
    for _ in range(10):
        error = raising(RuntimeError(SECRET), error)
    structlog.get_logger().error("failed", exc_info=error)
    assert [cause["type"] for cause in said()[0]["raised"]["causes"]] == ["RuntimeError"] * 3


def test_the_exception_being_handled_is_found(log: Path):
    said = into(log)
    try:
        raise ValueError(SECRET)
    except ValueError:
        structlog.get_logger().exception("failed")
    structlog.get_logger().error("later", exc_info=True)
    first, second = said()
    assert first["raised"]["type"] == "ValueError"
    assert "raised" not in second


# --- what other libraries say


@pytest.mark.parametrize(
    ("name", "template", "arguments", "expected"),
    [
        ("aiohttp.server", "Error handling request from %s", (SECRET,), "Error handling request from %s"),
        ("aiohttp.client", f"Can not load cookie: {SECRET}", (), "Can not load cookie"),
        ("aiohttp.server", f"Web-handler should return a response instance, got <{SECRET}>", (), None),
        ("asyncio", f"Task exception was never retrieved\nfuture: {SECRET}", (), "Task exception was never retrieved"),
        ("lib", f"'{SECRET}'", (), "<message withheld>"),
        ("lib", f"got {JWT}", (), f"got {REDACTED}"),
        ("authzlib", "about %s", (SECRET,), "about %s"),
    ],
)
def test_of_others_only_the_constant_part_is_said(
    log: Path, name: str, template: str, arguments: tuple[object, ...], expected: str | None
):
    said = into(log, level="debug")
    logging.getLogger(name).info("quiet")
    logging.getLogger(name).warning(template, *arguments)
    (line,) = said()
    assert SECRET not in str(line)
    assert (line["logger"], line["level"]) == (name, "warning")
    assert re.fullmatch(r"observe/test_log\.py:\d+", line["at"])
    assert line["event"] == (expected or "Web-handler should return a response instance, got")


def test_our_own_rooms_may_use_the_standard_library_and_are_said_in_full(log: Path):
    said = into(log)
    logging.getLogger("authz.servers.aiohttp_host").warning("the drain cuts off %d HTTP connections", 3)
    assert said()[0]["event"] == "the drain cuts off 3 HTTP connections"


def test_a_message_that_cannot_be_made_prints_nothing_of_its_arguments(log: Path, capfd: pytest.CaptureFixture[str]):
    into(log)
    logging.getLogger("authz.x").warning("of %d", SECRET)
    assert '"event":"of %d"' in log.read_text()
    assert SECRET not in log.read_text() + "".join(capfd.readouterr())


async def test_an_illegal_header_line_does_not_reach_the_log(capfd: pytest.CaptureFixture[str]):
    logging.getLogger().handlers.clear()
    # A pipe, as in a container: it is written to without waiting, also by the event loop.
    reads, writes = os.pipe()
    configure(fd=writes, level="debug")

    async def handler(_: web.BaseRequest) -> web.Response:
        return web.Response()

    runner = web.ServerRunner(web.Server(handler))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        for line in (f"authorization\x01: Bearer {SECRET}", f"x: {SECRET}{'y' * 20000}", f"\x00{SECRET}"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET / HTTP/1.1\r\nhost: a\r\n{line}\r\n\r\n".encode())
            answer = await asyncio.wait_for(reader.readline(), 20)
            writer.close()
            await writer.wait_closed()
            assert answer.split()[1] == b"400"
    finally:
        await runner.cleanup()
    lines = [json.loads(line) for line in os.read(reads, 65536).splitlines()]
    os.close(reads)
    os.close(writes)
    assert {line["event"] for line in lines} == {"Error handling request from %s"}
    assert {line["logger"] for line in lines} == {"aiohttp.server"}
    assert len(lines) == 3
    assert SECRET not in str(lines) + "".join(capfd.readouterr())


# --- a reader that stops reading


def test_a_log_that_nobody_reads_stops_nobody_and_tells_what_is_missing():
    reads, writes = os.pipe()
    fcntl.fcntl(writes, fcntl.F_SETPIPE_SZ, 4096)
    configure(fd=writes)
    logger = structlog.get_logger()
    for n in range(1000):
        logger.info("event", n=n)
    os.set_blocking(reads, False)
    text = os.read(reads, 65536)
    logger.info("after")
    text += os.read(reads, 65536)
    lines = [json.loads(line) for line in text.splitlines()]
    kept = [line["n"] for line in lines if line["event"] == "event"]
    missing = [line["count"] for line in lines if line["event"] == "log lines dropped"]
    assert kept == list(range(len(kept)))
    assert len(kept) + sum(missing) == 1000
    assert lines[-1]["event"] == "after"
    os.close(reads)
    logger.info("nobody is there")
    os.close(writes)
