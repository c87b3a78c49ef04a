"""The file of API keys: what it says is taken, and everything that is wrong is told with its line."""

import pytest

from authz.core.errors import Problem
from authz.core.model import EntityUid
from authz.wiring.api_key_file import MAX_KEYS, read_key_file

A, B = "a" * 64, "b" * 64
GOOD = f"""keys:
  - id: one
    sha256: "{A}"
    principal: N::S::"x"
"""


def read(folder, text):
    file = folder / "keys.yaml"
    file.write_text(text)
    problems: list[Problem] = []
    found = read_key_file(file, problems)
    return found, [str(problem).replace(f"{folder}/", "") for problem in problems]


def test_what_is_left_out(tmp_path):
    found, problems = read(tmp_path, GOOD)
    assert problems == []
    key = found.keys["one"]
    assert (key.id, key.digest, key.principal) == ("one", bytes.fromhex(A), EntityUid("N::S", "x"))
    assert (key.parents, dict(key.attributes), key.expires_at) == ((), {}, None)
    assert found.lines == {"one": 2}


def test_everything(tmp_path):
    more = """    parents: ['N::G::"g"', 'N::G::"g"', 'N::H::"h"']
    attributes: {name: text, level: -3, on: true, tags: [a, "1"], none: [], quoted: "2"}
    expires: 2030-01-02
"""
    found, problems = read(tmp_path, GOOD + more.replace("on:", '"on":'))
    assert problems == []
    key = found.keys["one"]
    assert key.parents == (EntityUid("N::G", "g"), EntityUid("N::H", "h"))
    assert dict(key.attributes) == {
        "name": "text", "level": -3, "on": True, "tags": ("a", "1"), "none": (), "quoted": "2",
    }  # fmt: skip
    assert key.expires_at == 1_893_542_400


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2030-01-02T00:00:00Z", 1_893_542_400),
        ('"2030-01-02T02:00:00+02:00"', 1_893_542_400),
        ("2030-01-01T23:59:59Z", 1_893_542_399),
        ("1960-01-01", -315_619_200),
    ],
)
def test_moments(tmp_path, text, seconds):
    found, problems = read(tmp_path, f"{GOOD}    expires: {text}\n")
    assert (found.keys["one"].expires_at, problems) == (seconds, [])


def test_no_keys(tmp_path):
    assert read(tmp_path, "keys: []")[0].keys == {}
    assert read(tmp_path, "keys: []")[1] == []


SECOND = f'  - id: two\n    sha256: "{B}"\n    principal: N::S::"x"\n'


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("keys:", "key:", "keys.yaml:1: expected `keys:` with a list"),
        ("keys:", "other: 1\nkeys:", "keys.yaml:1: expected `keys:` with a list"),
        ("  - id: one\n", "  - id: one\n    colour: red\n", "keys.yaml:3: unknown key `colour`; expected `id`"),
        (f'    sha256: "{A}"\n', "", "keys.yaml:2: `sha256` is required"),
        ("id: one", "id:", "keys.yaml:2: `id` is required"),
        ("id: one", "id: 1", "keys.yaml:2: `id`: expected 1 to 64"),
        ("id: one", "id: One", "keys.yaml:2: `id`: expected 1 to 64"),
        ("id: one", "id: a_b", "keys.yaml:2: `id`: expected 1 to 64"),
        ("id: two", "id: one", "keys.yaml:5: the id `one` stands twice; the first is in line 2"),
        (B, A, "keys.yaml:6: the hash is that of `one`"),
        (A, A[1:], "keys.yaml:3: `sha256`: expected the SHA-256"),
        (A, A.upper(), "keys.yaml:3: `sha256`: expected the SHA-256"),
        (A, "authz_one_secret", "keys.yaml:3: `sha256`: expected the SHA-256"),
        ('N::S::"x"\n  -', "N::S::x\n  -", "keys.yaml:4: `principal`: `N::S::x` is no entity identifier"),
        ('N::S::"x"\n  -', 'N::S::""\n  -', "keys.yaml:4: `principal`: expected an entity"),
        ('"x"\n  -', '"x"\n    parents: N::G::"g"\n  -', "keys.yaml:5: `parents`: expected a list"),
        ('"x"\n  -', '"x"\n    parents: [g]\n  -', "keys.yaml:5: `parents`: `g` is no entity identifier"),
        ('"x"\n  -', '"x"\n    attributes: [g]\n  -', "keys.yaml:5: `attributes`: expected a mapping"),
        ('"x"\n  -', '"x"\n    attributes: {a: 1.5}\n  -', "keys.yaml:5: `attributes`: `a`: expected text"),
        ('"x"\n  -', '"x"\n    attributes: {a: }\n  -', "keys.yaml:5: `attributes`: `a`: expected text"),
        ('"x"\n  -', '"x"\n    attributes: {a: {b: 1}}\n  -', "keys.yaml:5: `attributes`: `a`: expected text"),
        ('"x"\n  -', '"x"\n    attributes: {a: [[1]]}\n  -', "keys.yaml:5: `attributes`: `a`: expected text"),
        ('"x"\n  -', '"x"\n    attributes: {a: 9223372036854775808}\n  -', "`attributes`: `a`: expected text"),
        ('"x"\n  -', '"x"\n    attributes: {a: yes}\n  -', "keys.yaml:5: `yes` is ambiguous"),
        ('"x"\n  -', '"x"\n    expires: tomorrow\n  -', "keys.yaml:5: `expires`: expected a date"),
        ('"x"\n  -', '"x"\n    expires: 2030-02-30\n  -', "keys.yaml:5: `expires`: expected a date"),
        ('"x"\n  -', '"x"\n    expires: 2030-01-01T00:00:00\n  -', "keys.yaml:5: `expires`: expected a date"),
        ('"x"\n  -', '"x"\n    expires:\n  -', "keys.yaml:5: `expires`: expected a date"),
        ('"x"\n  -', '"x"\n    id: one\n  -', "keys.yaml:5: the key `id` stands twice"),
        ("  - id: two", "  - two\n  - id: two", "keys.yaml:5: expected a mapping"),
        (f'"{A}"', '"${file:keys.yaml}"', "hashes are no secrets"),
        (f'"{A}"', '"${env:HOME}"', "keys.yaml:3: the environment variable `HOME` is not set"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(tmp_path, old, new, expected):
    whole = GOOD + SECOND
    assert old in whole
    _, problems = read(tmp_path, whole.replace(old, new, 1))
    assert any(expected in problem for problem in problems), problems
    assert not any(A in problem or "authz_one_secret" in problem for problem in problems)


@pytest.mark.parametrize(
    "text", ["", "[]", "keys: {}", "keys:", "- id: one", "{", "keys: [" + "[" * 60 + "]" * 60 + "]"]
)
def test_what_is_no_list_of_keys_is_told(tmp_path, text):
    assert read(tmp_path, text)[1]


def test_all_problems_are_told_together(tmp_path):
    _, problems = read(tmp_path, GOOD.replace("one", "One").replace(A, "x").replace("N::S::", "N::S:"))
    assert len(problems) == 3


def test_how_many_there_may_be(tmp_path):
    _, problems = read(tmp_path, "keys: [" + "1," * (MAX_KEYS + 1) + "]")
    assert problems == [f"keys.yaml:1: expected at most {MAX_KEYS} keys"]


def test_a_file_that_is_not_there(tmp_path):
    problems: list[Problem] = []
    assert read_key_file(tmp_path / "none.yaml", problems).keys == {}
    assert "cannot be read" in str(problems[0])
