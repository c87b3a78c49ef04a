"""A response of Verified Permissions, held against botocore's own service model.

boto3 takes what it is given: an unknown member is dropped, a missing one is missing, a number passes for a date. So the
bytes of each response are read here, before boto3 parses them, and everything that the model does not say is a fault.

Sources: botocore, data/verifiedpermissions/2021-12-01/service-2.json; the statuses of errors are Smithy's `httpError`,
which the live service uses too (the API reference prints 400 for almost all).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

TYPE = "application/x-amz-json-1.0"
STATUSES = {
    "ValidationException": 400,
    "AccessDeniedException": 403,
    "ResourceNotFoundException": 404,
    "ConflictException": 409,
    "InvalidStateException": 406,
    "ServiceQuotaExceededException": 402,
    "ThrottlingException": 429,
    "TooManyTagsException": 400,
    "InternalServerException": 500,
}
PROTOCOL = {
    "UnknownOperationException": (400, 404),
    "SerializationException": (400,),
    "MissingAuthenticationTokenException": (400, 403),
    "RequestEntityTooLargeException": (413,),
}
"""Errors of the protocol, which come before any operation and stand in no model."""

_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
_INTEGERS = {"integer": 2**31, "long": 2**63}


class NotInTheModel(AssertionError):
    """A response that the model does not know."""


@cache
def service() -> Mapping[str, Any]:
    """botocore's model, as it is in its file."""
    from botocore.loaders import Loader

    return Loader().load_service_model("verifiedpermissions", "service-2")


@cache
def operations() -> frozenset[str]:
    return frozenset(service()["operations"])


def shape(name: str) -> Mapping[str, Any]:
    return service()["shapes"][name]


@cache
def errors_of(operation: str) -> frozenset[str]:
    """The names of the errors that the operation is said to have."""
    return frozenset(error["shape"] for error in service()["operations"][operation]["errors"])


@cache
def _pattern(text: str) -> re.Pattern[str]:
    # Whether `.*` takes a line break is not said; an entity's id may well have one in Cedar.
    return re.compile(text, re.ASCII | re.DOTALL)


# --- one value ----------------------------------------------------------------------------------------------


def faults(name: str, value: object, path: str = "") -> Iterator[str]:
    """What is wrong with a value (as JSON has it) of the named shape; nothing, if it conforms."""
    kind = shape(name)["type"]
    if value is None:
        yield f"{path or '/'}: null"
    elif kind == "structure":
        yield from _structure(name, value, path)
    elif kind == "list":
        yield from _list(shape(name), value, path)
    elif kind == "map":
        yield from _map(shape(name), value, path)
    else:
        yield from _scalar(shape(name), value, path)


def _structure(name: str, value: object, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path or '/'}: {name} is an object, not {type(value).__name__}"
        return
    members = shape(name)["members"]
    for required in shape(name).get("required", ()):
        if required not in value:
            yield f"{path}/{required}: required by {name}, and missing"
    if shape(name).get("union") and len(value) != 1:
        yield f"{path or '/'}: {name} is a union, with exactly one member, not {sorted(value)}"
    for member, part in value.items():
        if member in members:
            yield from faults(members[member]["shape"], part, f"{path}/{member}")
        else:
            yield f"{path}/{member}: not a member of {name}"


def _list(of: Mapping[str, Any], value: object, path: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{path or '/'}: a list, not {type(value).__name__}"
        return
    yield from _bounds(of, len(value), path)
    for number, part in enumerate(value):
        yield from faults(of["member"]["shape"], part, f"{path}/{number}")


def _map(of: Mapping[str, Any], value: object, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path or '/'}: an object, not {type(value).__name__}"
        return
    yield from _bounds(of, len(value), path)
    for key, part in value.items():
        yield from faults(of["key"]["shape"], key, f"{path}/{key}")
        yield from faults(of["value"]["shape"], part, f"{path}/{key}")


def _scalar(of: Mapping[str, Any], value: object, path: str) -> Iterator[str]:
    kind = of["type"]
    if kind in ("string", "timestamp"):
        if not isinstance(value, str):
            yield f"{path}: a {kind} is text, not {type(value).__name__}"
        elif kind == "timestamp":
            if not _DATE.fullmatch(value):
                yield f"{path}: not a date of ISO 8601 with its offset: {value!r}"
        else:
            yield from _text(of, value, path)
    elif kind == "boolean":
        if not isinstance(value, bool):
            yield f"{path}: a boolean, not {type(value).__name__}"
    elif isinstance(value, bool) or not isinstance(value, int):
        yield f"{path}: a whole number, not {type(value).__name__}"
    elif not -_INTEGERS[kind] <= value < _INTEGERS[kind]:
        yield f"{path}: out of the range of a {kind}: {value}"


def _text(of: Mapping[str, Any], value: str, path: str) -> Iterator[str]:
    yield from _bounds(of, len(value), path)
    if "enum" in of and value not in of["enum"]:
        yield f"{path}: {value!r} is none of {list(of['enum'])}"
    if "pattern" in of and not _pattern(of["pattern"]).fullmatch(value):
        yield f"{path}: {value!r} does not match {of['pattern']}"


def _bounds(of: Mapping[str, Any], length: int, path: str) -> Iterator[str]:
    if not of.get("min", 0) <= length <= of.get("max", length):
        yield f"{path}: length {length} is not within {of.get('min', 0)} to {of.get('max', 'any')}"


# --- one response -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One response, as it came."""

    operation: str
    status: int
    headers: Mapping[str, str]
    body: bytes


def response_faults(response: Response) -> Iterator[str]:
    """What is wrong with a whole response: status, headers, body."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    if headers.get("content-type", "").split(";")[0] != TYPE:
        yield f"Content-Type: {headers.get('content-type')!r} is not {TYPE}"
    if not headers.get("x-amzn-requestid"):
        yield "x-amzn-RequestId: missing"
    try:
        body = json.loads(response.body, object_pairs_hook=_once)
    except ValueError as error:
        yield f"/: not JSON: {error}"
        return
    if response.status == 200:
        yield from faults(service()["operations"][response.operation]["output"]["shape"], body)
    else:
        yield from error_faults(response.operation, response.status, body)


def error_faults(operation: str, status: int, body: object) -> Iterator[str]:
    """What is wrong with the body of an error, and with its status."""
    if not isinstance(body, dict) or not isinstance(body.get("__type"), str):
        yield "/__type: missing: the SDKs learn an error's name from it"
        return
    name = body["__type"].rsplit("#", 1)[-1]
    members = {member: value for member, value in body.items() if member != "__type"}
    if name in PROTOCOL:
        if status not in PROTOCOL[name]:
            yield f"status: {status} for {name}"
        if not isinstance(members.get("message"), str) or len(members) != 1:
            yield f"/: {name} has a message, not {sorted(members)}"
    elif name not in errors_of(operation):
        yield f"/__type: {name} is no error of {operation}"
    else:
        if status != STATUSES[name]:
            yield f"status: {status} for {name}, which has {STATUSES[name]}"
        yield from faults(name, members)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError(f"a member is there twice: {[name for name, _ in pairs]}")
    return found


@dataclass(slots=True, kw_only=True)
class Checker:
    """Checks each response of a client, and keeps count of what it has seen."""

    seen: list[tuple[str, int]] = field(default_factory=list)
    """(operation, status) of each response."""

    def watch(self, client: Any) -> None:
        """From now on, a response of this boto3 client that the model does not know raises `NotInTheModel`."""
        client.meta.events.register("before-parse.verifiedpermissions", self._before_parse)

    def check(self, response: Response) -> None:
        found = list(response_faults(response))
        self.seen.append((response.operation, response.status))
        if found:
            raise NotInTheModel(f"{response.operation}: {response.status}: " + "; ".join(found))

    def _before_parse(self, operation_model: Any, response_dict: Mapping[str, Any], **_: object) -> None:
        status, headers, body = (response_dict[part] for part in ("status_code", "headers", "body"))
        self.check(Response(operation=operation_model.name, status=status, headers=dict(headers), body=body))
