"""What the demo prints: lines that paste well, an aligned table, colour on terminals only."""

import io
import shlex
from pathlib import Path

import pytest

from authz.devtools.demo import scenario
from authz.devtools.demo.folder import DemoFolder
from authz.devtools.demo.screen import Row, Style, curl_line, introduction, style_for, table

FOLDER = DemoFolder(path=Path("/tmp/authz-demo-x"))
PLAIN = Style(colour=False)
COLOURED = Style(colour=True)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_request_is_one_short_command():
    assert curl_line(scenario.ALLOWED, FOLDER, 10000, {}) == (
        r"curl -iw '\n' -H @/tmp/authz-demo-x/alice http://127.0.0.1:10000/documents/q3-forecast"
    )
    assert curl_line(scenario.DENIED, FOLDER, 10000, {}) == (
        r"curl -iw '\n' -H @/tmp/authz-demo-x/dave -X DELETE http://127.0.0.1:10000/documents/incident-report"
    )
    assert curl_line(scenario.NO_TOKEN, FOLDER, 10000, {}) == (
        r"curl -iw '\n' http://127.0.0.1:10000/documents/q3-forecast"
    )


def test_a_folder_with_blanks_is_quoted():
    folder = DemoFolder(path=Path("/tmp/a folder's"))
    assert f"@{folder.path}/alice" in shlex.split(curl_line(scenario.ALLOWED, folder, 1, {}))
    assert str(folder.edited) in shlex.split(folder.edit_line)


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, False),
        ({"http_proxy": ""}, False),
        ({"http_proxy": "http://proxy:3128"}, True),
        ({"ALL_PROXY": "http://proxy:3128"}, True),
        ({"https_proxy": "http://proxy:3128"}, False),
        ({"http_proxy": "http://proxy:3128", "no_proxy": "localhost, 127.0.0.1"}, False),
        ({"http_proxy": "http://proxy:3128", "NO_PROXY": "*"}, False),
        ({"http_proxy": "http://proxy:3128", "no_proxy": "localhost"}, True),
    ],
)
def test_curl_is_told_not_to_ask_a_proxy(environment, told):
    words = shlex.split(curl_line(scenario.ALLOWED, FOLDER, 10000, environment))
    assert ("--noproxy" in words) == told
    assert not told or words[words.index("--noproxy") + 1] == "*"


def test_the_introduction_has_every_request_the_edit_and_the_end():
    lines = introduction(FOLDER, 10000, PLAIN, door="HTTP").splitlines()
    stripped = [line.strip() for line in lines]
    for step in (*scenario.STEPS, scenario.AFTER):
        assert curl_line(step, FOLDER, 10000) in stripped
    assert FOLDER.edit_line in stripped
    assert str(FOLDER.policies) in "\n".join(lines)
    assert lines[-1].startswith("Ctrl-C ")


def test_what_stands_between_the_commands_does_no_harm_in_a_shell():
    for line in introduction(FOLDER, 10000, PLAIN, door="HTTP").splitlines():
        if line.startswith("   "):
            assert shlex.split(line.strip(), comments=True) == [] or line.strip().startswith(("curl ", "sed "))
            assert line.count("'") % 2 == 0


@pytest.mark.parametrize("style", [PLAIN, COLOURED])
def test_nothing_but_ascii_is_printed(style):
    assert introduction(FOLDER, 10000, style, door="gRPC").isascii()
    assert all(str(step).isascii() and str(step.expected).isascii() for step in scenario.STEPS)


def test_colour_changes_nothing_but_the_colour():
    coloured = introduction(FOLDER, 10000, COLOURED, door="HTTP")
    assert "\x1b[" in coloured
    for code in ("0", "1", "2", "36"):
        coloured = coloured.replace(f"\x1b[{code}m", "")
    assert coloured == introduction(FOLDER, 10000, PLAIN, door="HTTP")


@pytest.mark.parametrize("name", ["curl", "other"])
def test_a_machine_without_curl_is_told_how_to_get_it(tmp_path, monkeypatch, name):
    (tmp_path / name).write_text("#!/bin/sh\n")
    (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ("apt install curl" in introduction(FOLDER, 1, PLAIN, door="HTTP")) == (name != "curl")


@pytest.mark.parametrize(
    ("stream", "environment", "coloured"),
    [
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": ""}, True),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
    ],
)
def test_colour_is_for_terminals(stream, environment, coloured):
    assert style_for(stream, environment) == Style(coloured)


def test_the_table_is_aligned_and_ends_with_the_verdict():
    rows = [
        Row(asked="Envoy", request="1 alice GET /", expected="200", got="200, as alice", ok=True),
        Row(asked="library", request="2", expected="403 policy_forbid", got="503", ok=False),
    ]
    assert table(rows, PLAIN).splitlines() == [
        "asked    request        expected           got            ok",
        "Envoy    1 alice GET /  200                200, as alice  ok",
        "library  2              403 policy_forbid  503            FAILED",
    ]
    assert "\x1b[32mok\x1b[0m" in table(rows, COLOURED)
    assert "\x1b[1;31mFAILED\x1b[0m" in table(rows, COLOURED)
