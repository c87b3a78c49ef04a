"""The emulator's own table of input shapes, walked side by side with botocore's model from each operation on."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from authz.emulator.operations.table import HANDLERS
from authz.emulator.shape_tables import SHAPES, Choice, Flag, Items, Number, Shape, Structure, Table, Text, Union
from tests.emulator.conformance.model import operations, service, shape

ONLY_IN_PROSE = {
    "MaxResults": Number(1, 50),
    "ListIdentitySourcesMaxResults": Number(1, 50),
    "BatchIsAuthorizedInputList": (1, 30),
    "BatchIsAuthorizedWithTokenInputList": (1, 30),
    # The model's dots are any character, which takes cubic time to refuse a long text.
    "Token": r"[A-Za-z0-9-_=]++.[A-Za-z0-9-_=]++.[A-Za-z0-9-_=]++",
    # A local issuer may be plain HTTP, by a setting; without it an identity source refuses one.
    "Issuer": r"https?://.*",
    # `^` and `$` say nothing where the whole text must match.
    "ActionType": r"Action|.+::Action",
}
"""Where the two differ on purpose: the shape of the model → what the emulator has."""


def differences(ours: str, theirs: str, path: str, seen: frozenset[tuple[str, str]] = frozenset()) -> Iterator[str]:
    """What the emulator's shape `ours` has otherwise than the model's shape `theirs`."""
    if (ours, theirs) in seen:
        return
    seen |= {(ours, theirs)}
    if ours not in SHAPES:
        yield f"{path}: the emulator has no shape {ours}"
        return
    mine, model = SHAPES[ours], shape(theirs)
    kind = {"structure": Union if model.get("union") else Structure, "list": Items, "map": Table, "boolean": Flag}.get(
        model["type"], Number if model["type"] in ("integer", "long") else Choice if "enum" in model else Text
    )
    if not isinstance(mine, kind):
        yield f"{path}: {type(mine).__name__}, not {kind.__name__}"
    elif isinstance(mine, Structure | Union):
        yield from _members(mine, theirs, path, seen)
    elif isinstance(mine, Items):
        yield from _equal((mine.least, mine.most), ONLY_IN_PROSE.get(theirs, _bounds(theirs)), path)
        yield from differences(mine.of, model["member"]["shape"], f"{path}/0", seen)
    elif isinstance(mine, Table):
        yield from _equal((0, mine.most), _bounds(theirs), path)
        yield from differences(mine.key, model["key"]["shape"], f"{path}/key", seen)
        yield from differences(mine.of, model["value"]["shape"], f"{path}/value", seen)
    else:
        yield from _scalar(mine, theirs, path)


def _members(mine: Structure | Union, theirs: str, path: str, seen: frozenset[tuple[str, str]]) -> Iterator[str]:
    model = shape(theirs)
    words = {word.lstrip("*").split(":")[0]: word for word in mine.members.split()}
    yield from _equal(sorted(words), sorted(model["members"]), path)
    required = sorted(name for name, word in words.items() if word.startswith("*"))
    yield from _equal(required, sorted(model.get("required", ())), f"{path} (required)")
    for name in words.keys() & model["members"].keys():
        of = words[name].partition(":")[2] or name[0].upper() + name[1:]
        yield from differences(of, model["members"][name]["shape"], f"{path}/{name}", seen)


def _scalar(mine: Shape, theirs: str, path: str) -> Iterator[str]:
    model = shape(theirs)
    if isinstance(mine, Number):
        long = Number(-(2**63), 2**63 - 1)
        yield from _equal(mine, ONLY_IN_PROSE.get(theirs, long), path)
    elif isinstance(mine, Choice):
        yield from _equal(sorted(mine.words), sorted(model["enum"]), path)
    elif isinstance(mine, Text):
        yield from _equal((mine.least, mine.most), _bounds(theirs), path)
        wanted = ONLY_IN_PROSE.get(theirs, model.get("pattern", ".*"))
        yield from _equal(_plain(mine.pattern or ".*"), _plain(str(wanted)), path)


def _bounds(theirs: str) -> tuple[int, int | None]:
    return shape(theirs).get("min", 0), shape(theirs).get("max")


def _plain(pattern: str) -> str:
    """A pattern without escapes that change nothing where these patterns have them."""
    return re.sub(r"\\([-/.])", r"\1", pattern)


def _equal(mine: object, wanted: object, path: str) -> Iterator[str]:
    if mine != wanted:
        yield f"{path}: {mine}, not {wanted}"


def test_every_operation_of_the_model_has_a_handler_and_no_other_has():
    assert HANDLERS.keys() == operations()


@pytest.mark.parametrize("operation", sorted(operations()))
def test_the_emulator_knows_the_whole_input_of(operation):
    theirs = service()["operations"][operation]["input"]["shape"]
    assert list(differences(operation, theirs, operation)) == []


@pytest.mark.parametrize(
    ("name", "changed", "told"),
    [
        ("PolicyId", Text(1, 199, "[a-zA-Z0-9-/_]*"), "GetPolicy/policyId: (1, 199), not (1, 200)"),
        ("PolicyId", Text(1, 200, "[a-z]*"), "GetPolicy/policyId: [a-z]*, not"),
        ("PolicyId", Flag(), "GetPolicy/policyId: Flag, not Text"),
        ("GetPolicy", Structure("*policyStoreId policyId"), "GetPolicy (required): ['policyStoreId'], not"),
        ("GetPolicy", Structure("*policyStoreId"), "GetPolicy: ['policyStoreId'], not ['policyId', 'policyStoreId']"),
        ("GetPolicy", Structure("*policyStoreId *policyId:Missing"), "the emulator has no shape Missing"),
    ],
)
def test_a_difference_is_seen(monkeypatch, name, changed, told):
    monkeypatch.setattr(f"{__name__}.SHAPES", {**SHAPES, name: changed})
    assert any(told in one for one in differences("GetPolicy", "GetPolicyInput", "GetPolicy"))
