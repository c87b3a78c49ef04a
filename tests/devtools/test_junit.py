"""`authz test --junit`: a report that other programs read."""

from __future__ import annotations

import argparse
import os
import re
import threading
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.errors import Problem
from authz.devtools.case_junit import junit, printable, write_whole
from authz.devtools.case_report import CaseResult, Coverage, Difference, Report, Uncovered
from authz.devtools.cases import add_test_arguments, main_test

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ROOT / "policies" / "documents"
# What the readers of Jenkins, GitLab and pytest's xunit2 have in common: element → attributes, children.
KNOWN = {
    "testsuites": ({"name", "tests", "failures", "errors", "skipped", "time"}, {"testsuite"}),
    "testsuite": ({"name", "tests", "failures", "errors", "skipped", "time"}, {"testcase"}),
    "testcase": ({"name", "classname", "file", "line", "time"}, {"properties", "failure", "error"}),
    "properties": (set(), {"property"}),
    "property": ({"name", "value"}, set()),
    "failure": ({"message", "type"}, set()),
    "error": ({"message", "type"}, set()),
}


def parsed(content: bytes) -> ET.Element:
    """The document, after a look at its form."""
    root = ET.fromstring(content)
    assert root.tag == "testsuites"
    for element in root.iter():
        attributes, children = KNOWN[element.tag]
        assert set(element.attrib) <= attributes
        assert {child.tag for child in element} <= children
    for element in (root, *root):
        tests = list(element.iter("testcase"))
        assert int(element.attrib["tests"]) == len(tests)
        assert int(element.attrib["failures"]) == len(list(element.iter("failure")))
        assert int(element.attrib["errors"]) == len(list(element.iter("error")))
        assert float(element.attrib["time"]) == pytest.approx(sum(float(test.attrib["time"]) for test in tests))
    for test in root.iter("testcase"):
        assert test.attrib["name"]
        assert test.attrib["classname"]
        assert int(test.get("line", "1")) >= 1
        assert re.fullmatch(r"[0-9]+\.[0-9]{3}", test.attrib["time"])
    return root


def result(name: str = "one", *, file: str = "cases/a.yaml", failed: bool = False, **more) -> CaseResult:
    difference = Difference(field="outcome", expected="allowed", actual="denied: policy_no_permit")
    return CaseResult(name=name, file=file, line=4, differences=(difference,) if failed else (), **more)


UNCOVERED = Coverage(
    application="app",
    whole=True,
    uncovered=(Uncovered(kind="policy", name="secret", file="app/a.cedar", line=7),),
)


def test_files_are_suites_and_cases_are_tests_with_their_places():
    report = Report(
        results=(
            result("one", seconds=0.0021, route="read", policies=("b", "a")),
            result("two", failed=True, hints=("look here",)),
            result("three", file="cases/b.yaml"),
        )
    )
    root = parsed(junit(report))
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("3", "1", "0")
    assert [suite.get("name") for suite in root] == ["cases/a.yaml", "cases/b.yaml"]
    one, two, _ = root.iter("testcase")
    assert one.attrib == {"classname": "cases.a", "name": "one", "file": "cases/a.yaml", "line": "4", "time": "0.002"}
    assert {item.get("name"): item.get("value") for item in one.iter("property")} == {
        "route": "read",
        "policies": "a, b",
    }
    failure = two.find("failure")
    assert failure is not None
    assert failure.get("message") == "outcome: expected allowed, got denied: policy_no_permit"
    assert failure.text is not None
    assert "look here" in failure.text
    assert "\x1b" not in failure.text


def test_names_do_not_hang_on_the_folder_of_the_build(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    absolute = junit(Report(results=(result(file=str(tmp_path / "cases" / "a.yaml")),)))
    relative = junit(Report(results=(result(file="cases/a.yaml"),)))
    assert absolute == relative
    assert str(tmp_path).encode() not in absolute


def test_what_cannot_be_read_is_an_error_and_no_failure():
    report = Report(
        problems=(
            Problem(message="unknown key `expct`", file="cases/a.yaml", line=3),
            Problem(message="`url` is required", file="cases/a.yaml", line=9),
            Problem(message="there is no such file or folder", file="elsewhere"),
            Problem(message="there are no routes", severity="warning"),
        )
    )
    root = parsed(junit(report, require_coverage=True))
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("2", "0", "2")
    first, _ = root.iter("testcase")
    error = first.find("error")
    assert error is not None
    assert (first.get("name"), first.get("line"), error.get("message")) == ("can be read", "3", "unknown key `expct`")
    assert error.text is not None
    assert "`url` is required" in error.text


def test_coverage_is_a_test_where_it_is_required_and_only_there():
    report = Report(results=(result(),), coverage=(UNCOVERED,))
    assert parsed(junit(report)).get("tests") == "1"
    root = parsed(junit(report, require_coverage=True))
    assert (root.get("tests"), root.get("failures")) == ("2", "1")
    failure = next(root.iter("failure"))
    assert failure.get("message") == "not covered: policy secret"
    assert failure.text is not None
    assert "app/a.cedar:7" in failure.text
    covered = Report(results=(result(),), coverage=(Coverage(application="app", whole=True),))
    good = parsed(junit(covered, require_coverage=True))
    assert (good.get("tests"), good.get("failures")) == ("2", "0")
    names = [[test.get("name") for test in document.iter("testcase")] for document in (root, good)]
    assert names[0] == names[1]


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_makes_a_document_that_can_be_read(name: str, actual: str):
    difference = Difference(field="reason", expected="<&\"'>]]>", actual=actual)
    case = CaseResult(name=name or "x", file="a.yaml", line=None, differences=(difference,), hints=(name,))
    (test,) = parsed(junit(Report(results=(case,)))).iter("testcase")
    assert test.get("name") == printable(name or "x")
    failure = test.find("failure")
    assert failure is not None
    assert failure.get("message") == f"reason: expected <&\"'>]]>, got {printable(actual)}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x00b\x1b[31m", r"a\x00b\x1b[31m"),
        ("\ud800\ufffe\uffff", r"\ud800\ufffe\uffff"),
        ("tab\tline\nend\r", "tab\tline\nend\\r"),
        ("ä 日 \U0001f600", "ä 日 \U0001f600"),
    ],
)
def test_what_xml_cannot_say_is_escaped(text: str, shown: str):
    assert printable(text) == shown


def test_the_file_is_there_whole_or_as_it_was(tmp_path, monkeypatch):
    file = tmp_path / "report.xml"
    write_whole(file, b"first")
    write_whole(file, b"second")
    assert file.read_bytes() == b"second"

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(file, b"third")
    assert file.read_bytes() == b"second"
    assert [path.name for path in tmp_path.iterdir()] == ["report.xml"]


def test_a_link_stays_a_link_and_a_pipe_is_written_to(tmp_path):
    (tmp_path / "real.xml").write_bytes(b"old")
    (tmp_path / "link.xml").symlink_to(tmp_path / "real.xml")
    write_whole(tmp_path / "link.xml", b"new")
    assert (tmp_path / "link.xml").is_symlink()
    assert (tmp_path / "real.xml").read_bytes() == b"new"
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_whole(pipe, b"through")
    reader.join()
    assert read == [b"through"]
    assert pipe.is_fifo()


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    add_test_arguments(parser)
    return main_test(parser.parse_args(arguments))


def test_the_command_writes_it_and_its_exit_code_is_as_without(tmp_path, capsys):
    file = tmp_path / "report.xml"
    assert run(str(DOCUMENTS), "--require-coverage", "--junit", str(file)) == 0
    assert "0 failed" in capsys.readouterr().out
    root = parsed(file.read_bytes())
    assert int(root.attrib["tests"]) > 50
    assert (root.get("failures"), root.get("errors")) == ("0", "0")
    one = str(DOCUMENTS / "cases" / "reading.yaml")
    assert run(one, "--require-coverage", "--junit", str(file)) == 1
    assert parsed(file.read_bytes()).get("failures") == "1"
    (tmp_path / "bad.yaml").write_text("cases: [")
    assert run(str(DOCUMENTS), str(tmp_path / "bad.yaml"), "--junit", str(file)) == 2
    assert int(parsed(file.read_bytes()).attrib["errors"]) >= 1


def test_on_standard_output_it_stands_alone(capsys):
    assert run(str(DOCUMENTS / "cases" / "reading.yaml"), "--junit", "-") == 0
    told = capsys.readouterr()
    assert parsed(told.out.encode()).get("failures") == "0"
    assert "0 failed" in told.err


def test_an_earlier_report_does_not_stand_for_a_run_that_could_not_begin(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "report.xml").write_bytes(junit(Report(results=(result(),))))
    assert run("--junit", "report.xml") == 2
    assert "there is no authz.yaml here" in capsys.readouterr().err
    assert parsed((tmp_path / "report.xml").read_bytes()).get("errors") == "1"


@pytest.mark.parametrize("file", ["missing/report.xml", ".", "\x00"])
def test_a_report_that_cannot_be_written_is_told(tmp_path, monkeypatch, capsys, file):
    monkeypatch.chdir(tmp_path)
    assert run(str(DOCUMENTS / "cases" / "reading.yaml"), "--junit", file) == 2
    assert "cannot be written" in capsys.readouterr().err
