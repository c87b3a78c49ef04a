"""The deny list's file, and what it denies."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.authn import revocation
from authz.authn.revocation import DenyList
from authz.core.errors import Misconfigured

FULL = """
# denied since the audit
jti: ["t-1", t-2]
subjects:
  - auth0|1234
issuers:
  https://login.example.com:
    jti: ["t-3"]
    subjects: ["u-17"]
  https://other.example.com: {subjects: []}
"""


def problems(text: str) -> list[str]:
    with pytest.raises(Misconfigured) as caught:
        DenyList.parse(text, file="deny.yaml")
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("issuer", "jti", "subject", "denied"),
    [
        ("https://login.example.com", "t-1", "u", True),
        ("https://any.example.com", "t-2", "u", True),
        ("https://any.example.com", None, "auth0|1234", True),
        ("https://login.example.com", "t-3", "u", True),
        ("https://other.example.com", "t-3", "u", False),
        ("https://login.example.com", None, "u-17", True),
        ("https://other.example.com", None, "u-17", False),
        ("https://login.example.com", "u-17", "t-3", False),
        ("https://login.example.com", None, "u", False),
        ("https://login.example.com", "T-1", "U-17", False),
        ("", "t-3", "u-17", False),
    ],
)
def test_what_it_denies(issuer, jti, subject, denied):
    assert DenyList.parse(FULL).denies(issuer, jti, subject) is denied


def test_an_empty_list_denies_nothing():
    for empty in (DenyList(), DenyList.parse("{}"), DenyList.parse("jti: []\nissuers: {}")):
        assert len(empty) == 0
        assert not empty.denies("", "", "")
        assert not empty.denies("i", None, "s")


def test_json_is_read_too():
    read = DenyList.parse('{"jti": ["t-1"], "issuers": {"https://i": {"subjects": ["s"]}}}')
    assert read == DenyList(tokens=frozenset({("", "t-1")}), subjects=frozenset({("https://i", "s")}))


def test_it_does_not_show_who_is_denied():
    assert "u-17" not in repr(DenyList.parse(FULL))
    assert len(DenyList.parse(FULL)) == 5


@pytest.mark.parametrize("text", ["", "\n", "# nothing yet\n", "---\n", "~", "null"])
def test_an_empty_file_is_what_a_cut_write_leaves(text):
    assert problems(text) == ["deny.yaml: the deny list is empty; write `{}` for no entries"]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("jtis: []", 1, "`jtis` is not known here; expected `jti`, `subjects` or `issuers`"),
        ("\nsubject: [a]", 2, "`subject` is not known"),
        ("issuers:\n  https://i:\n    issuers: {}", 3, "expected `jti` or `subjects`"),
        ("jti: [a]\njti: [b]", 2, "`jti` is there twice"),
        ("issuers:\n  i: {jti: [a]}\n  i: {jti: [b]}", 3, "`i` is there twice"),
        ("issuers:\n  i:\n    jti: [a]\n    jti: [b]", 4, "`jti` is there twice"),
        ("jti: a", 1, "expected `jti` to be a list"),
        ("jti:", 1, "expected `jti` to be a list"),
        ("jti: {a: b}", 1, "expected `jti` to be a list"),
        ("issuers: [a]", 1, "expected names with values"),
        ("issuers: {i: [a]}", 1, "expected names with values"),
        ("- jti", 1, "expected names with values"),
        ("text", 1, "expected names with values"),
        ("jti:\n  - 0123", 2, "write it in quotes"),
        ("jti:\n  - a\n  - no", 3, "write it in quotes"),
        ("jti: [1.5]", 1, "write it in quotes"),
        ("jti: [~]", 1, "write it in quotes"),
        ('jti: [""]', 1, "not empty"),
        ("jti: [[a]]", 1, "write it in quotes"),
        ("jti: [2026-01-01]", 1, "write it in quotes"),
        ("7: []", 1, "expected a name"),
        ('issuers: {"": {jti: [a]}}', 1, "expected a name"),
        ("<<: {jti: [a]}", 1, "expected a name"),
        ("jti: [!!python/object:os.system a]", 1, "write it in quotes"),
    ],
)
def test_problems_have_their_line(text, line, words):
    (problem,) = problems(text)
    assert problem.startswith(f"deny.yaml:{line}: ")
    assert words in problem


@pytest.mark.parametrize("text", ["jti: [a", "jti: *nowhere", "\tjti: [a]", "a: b: c", "{}\n---\n{}", "jti: [\x00]"])
def test_what_is_no_yaml_is_refused_without_being_quoted(text):
    (problem,) = problems(text)
    assert problem.startswith("deny.yaml")
    assert problem.endswith("expected YAML")


def test_a_fault_in_the_yaml_has_its_line():
    assert problems("jti: [a]\nsubjects: [b\nissuers: {}") == ["deny.yaml:3: expected YAML"]


def test_all_problems_are_told():
    assert len(problems("jtis: []\njti: [1, 2]\nsubjects: a")) == 4


def test_the_number_of_entries_is_bounded(monkeypatch):
    monkeypatch.setattr(revocation, "MAX_ENTRIES", 2)
    assert len(DenyList.parse("jti: [a, b]")) == 2
    assert "at most 2 entries" in problems("jti: [a, b]\nsubjects: [c]")[0]


@given(st.text() | st.sampled_from(["jti: ", "subjects: ", "issuers: "]).flatmap(lambda k: st.text().map(k.__add__)))
def test_no_text_raises_anything_else(text):
    with suppress(Misconfigured):
        DenyList.parse(text)


@given(st.lists(st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"]), min_size=1)))
def test_quoted_strings_are_read_as_they_are(entries):
    quoted = ", ".join("'" + entry.replace("'", "''") + "'" for entry in entries)
    assert DenyList.parse(f"subjects: [{quoted}]").subjects == {("", entry) for entry in entries}


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 50_000, "jti: " + "[" * 20 + "]" * 20])
def test_deep_nesting_is_refused_and_does_not_end_the_process(text):
    with pytest.raises(Misconfigured):
        DenyList.parse(text, file="deny.yaml")
