"""A case file: what is asked, with which token, and what must come of it.

    issuer: {groups: {type: Documents::Role}}        # only where there is no authz.yaml
    cases:
      - name: an analyst reads a report
        request: {method: GET, url: "http://documents.example/documents/q3", source: 10.1.2.3}
        token: {sub: alice, groups: [analyst]}
        entities: []
        expect: {outcome: allowed, status: 200, policies: [department-reads]}

It is read strictly: a case with a key that is misspelled would test less than it says. docs/testing-policies.md
tells of every key.
"""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from authz.config.fields import Names, Seconds
from authz.config.shape import Groups, Principal
from authz.config.yaml_text import Document, Place, read_document
from authz.core.errors import Problem, Reason

DEFAULT_ISSUER = "https://cases.invalid"  # RFC 2606: a name that never exists
DEFAULT_AUDIENCE = "cases"
NO_CASES = frozenset({"authz.yaml", "routes.yaml"})
"""What else lies in an application's folder."""
# pydantic's words name Python's types.
_WANTED: Mapping[str, str] = {
    "dict_type": "expected a mapping",
    "list_type": "expected a list",
    "model_type": "expected a mapping",
    "string_type": "expected text; put it in quotes",
    "tuple_type": "expected a list",
}
OutcomeName = Literal["allowed", "denied", "failed"]


def _reason(value: Any) -> Any:
    known = [reason.value for reason in Reason]
    if value is None or value in known:
        return value
    near = difflib.get_close_matches(str(value), known, n=1)
    hint = f"; did you mean `{near[0]}`?" if near else ""
    raise ValueError(f"`{str(value)[:60]}` is no reason code{hint}")


def _some(value: Any) -> Any:
    # Not by `min_length`: it would also complain where every case is wrong in itself.
    if value == []:
        raise ValueError("expected at least one case")
    return value


class _Shape(BaseModel):
    """Unknown keys are refused; values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RequestShape(_Shape):
    """The request as the proxy tells of it."""

    method: str = "GET"
    url: str
    """`http://HOST/PATH?QUERY`; a path alone is asked of `localhost`. Raw: nothing in it is decoded or escaped."""
    headers: dict[str, Names] = {}
    """Name → value, or values: a list sends the header several times."""
    source: str | None = None
    """The client's address."""

    @field_validator("url")
    @classmethod
    def _absolute(cls, value: str) -> str:
        if not value.startswith(("http://", "https://", "/")):
            raise ValueError("expected `http://HOST/PATH`, `https://HOST/PATH` or `/PATH`")
        return value

    @field_validator("source")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        try:
            return None if value is None else str(ipaddress.ip_address(value))
        except ValueError:
            raise ValueError("expected an IP address") from None


class ExpectShape(_Shape):
    """What must come of the request. What is left out is not compared."""

    outcome: OutcomeName
    status: Annotated[int, Field(strict=True, ge=100, le=599)] | None = None
    """What the proxy is answered: 200, 400, 401, 403, 500, 503."""
    reason: Annotated[Reason | None, BeforeValidator(_reason)] = None
    policies: tuple[str, ...] | None = None
    """Ids of the determining policies, all of them, in any order."""
    headers: dict[str, str | None] = {}
    """Headers of the answer: on allow, those the upstream gets; null: not there, or removed."""


class CaseShape(_Shape):
    """One case as written."""

    name: Annotated[str, Field(min_length=1)]
    request: RequestShape
    token: dict[str, Any] | None = None
    """Claims of a token that is signed for the case; null, or left out: none is sent."""
    authenticator: str | None = None
    """Where the token stands: the name of an authenticator. Left out: the first that takes tokens."""
    api_key: str | None = None
    """Id of a key of the configuration's files; it is sent with a secret that the run gives it."""
    certificate: str | None = None
    """Name in the client's certificate, as Envoy tells of it over gRPC."""
    entities: list[Any] = []
    """Cedar JSON; each replaces the store's entity of the same uid, or is added, for this case only."""
    expect: ExpectShape

    @model_validator(mode="after")
    def _one_credential(self) -> CaseShape:
        if self.token is not None and any(name.lower() == "authorization" for name in self.request.headers):
            raise ValueError("`token` and the header `authorization` both send a credential; keep one")
        return self


class IssuerSettings(_Shape):
    """The one issuer of cases that are run without an `authz.yaml`; keys are as there."""

    issuer: Annotated[str, Field(min_length=1)] = DEFAULT_ISSUER
    audience: Names = (DEFAULT_AUDIENCE,)
    token: Literal["access", "id", "either"] = "access"
    leeway: Seconds = 30.0
    types: Names | None = None
    clients: Names = ()
    principal: Principal = Principal()
    groups: Groups | None = None
    """Left out: the one type that the schema lets principals be in, if there is one only; null: no groups."""


class FileShape(_Shape):
    """A case file as written."""

    issuer: IssuerSettings = IssuerSettings()
    cases: Annotated[tuple[CaseShape, ...], BeforeValidator(_some)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case and its place."""

    shape: CaseShape
    file: str
    line: int | None
    lines: Mapping[str, int | None]
    """Key of the case → its line."""

    def problem(self, key: str, message: str) -> Problem:
        """A problem at one of the case's keys."""
        text = f"case `{self.shape.name}`: {message}"
        return Problem(message=text, file=self.file, line=self.lines.get(key, self.line))


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFile:
    """A case file, read."""

    file: str
    issuer: IssuerSettings
    issuer_line: int | None
    cases: tuple[Case, ...]


def find_case_files(path: Path) -> tuple[Path, ...]:
    """The case files that a path stands for: itself, or those in the folder's `cases`, or in the folder."""
    if not path.is_dir():
        return (path,)
    folder = path / "cases" if (path / "cases").is_dir() else path
    found = (file for suffix in ("*.yaml", "*.yml") for file in folder.glob(suffix))
    return tuple(sorted(file for file in found if folder.resolve().name == "cases" or file.name not in NO_CASES))


def read_case_file(path: Path, problems: list[Problem]) -> CaseFile | None:
    """The file's cases. What is wrong is appended to `problems`, with its line; then there is no result."""
    document = read_document(path)
    if not document.problems:
        shape = _validated(document)
        if shape is not None and not document.problems:
            return _case_file(shape, document)
    problems.extend(document.problems)
    return None


def _validated(document: Document) -> FileShape | None:
    try:
        shape = FileShape.model_validate(document.data)
    except ValidationError as error:
        _report(document, error.errors(include_url=False, include_context=False, include_input=False))
        return None
    first: dict[str, int | None] = {}
    for index, case in enumerate(shape.cases):
        line = document.line(("cases", index))
        if case.name in first:
            text = f"the name `{case.name}` is already used in line {first[case.name]}; names are unique in a file"
            document.problem(("cases", index, "name"), text)
        first.setdefault(case.name, line)
    return shape


def _case_file(shape: FileShape, document: Document) -> CaseFile:
    keys = tuple(CaseShape.model_fields)
    return CaseFile(
        file=document.file,
        issuer=shape.issuer,
        issuer_line=document.line(("issuer",)),
        cases=tuple(
            Case(
                shape=case,
                file=document.file,
                line=document.line(("cases", index)),
                lines={key: document.line(("cases", index, key)) for key in keys},
            )
            for index, case in enumerate(shape.cases)
        ),
    )


def _report(document: Document, details: Iterable[ErrorDetails]) -> None:
    seen: set[Place] = set()
    for detail in details:
        place, missing = _existing(document.data, detail["loc"]), detail["type"] == "missing"
        if missing:
            place = (*place, detail["loc"][-1])
        if place not in seen:  # one message a value, though each arm of a union complains
            seen.add(place)
            document.problem(place, _message(place, detail))


def _existing(data: Any, location: Place) -> Place:
    """The part of pydantic's location that is in the document; it also names arms of unions."""
    found: list[str | int] = []
    for step in location:
        is_member = isinstance(data, Mapping) and step in data
        is_item = isinstance(data, list) and isinstance(step, int) and step < len(data)
        if is_member or is_item:
            data = data[step]
            found.append(step)
    return tuple(found)


def _message(place: Place, detail: ErrorDetails) -> str:
    inner = place[2:] if place[:1] == ("cases",) and len(place) > 1 else place
    where = ".".join(str(step) for step in inner)
    if detail["type"] == "extra_forbidden":
        last = str(place[-1])
        near = difflib.get_close_matches(last, _known_keys(), n=1)
        return f"unknown key `{last[:60]}`" + (f"; did you mean `{near[0]}`?" if near else "")
    if detail["type"] == "missing":
        return f"`{where}` is required"
    text = _WANTED.get(detail["type"]) or detail["msg"].removeprefix("Value error, ")
    text = text.replace("Input should be", "expected")
    return (f"`{where}`: " if where else "") + text[:1].lower() + text[1:]


def _known_keys() -> list[str]:
    shapes = (FileShape, CaseShape, RequestShape, ExpectShape, IssuerSettings, Principal, Groups)
    return sorted({name for shape in shapes for name in shape.model_fields})
