"""One case: the request as a door would build it, the answer that came, and what about it is not as expected."""

from __future__ import annotations

import difflib
import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from authz.core.enforce import Response, respond
from authz.core.errors import Reason, RequestRefused
from authz.core.model import (
    Allowed,
    Decision,
    Denied,
    EntityUid,
    Extension,
    Failed,
    Headers,
    Outcome,
    Peer,
    Record,
    Request,
    Value,
)
from authz.core.request import canonical_request
from authz.devtools.case_credentials import Credentials
from authz.devtools.case_file import Case, ExpectShape
from authz.devtools.case_report import NONE, CaseResult, Difference
from authz.devtools.urls import split_url
from authz.service import Service
from authz.wiring.assembly import Assembly
from authz.wiring.runtime import Runtime

DOOR = "cases"
_ENGINE = re.compile(r"\Aerror while evaluating policy `[^`]*`: ")
_TRUSTED = Peer(trusted=True)


@dataclass(slots=True)
class LastRecord:
    """A record sink that keeps the last record."""

    kept: Record | None = None

    def write(self, record: Record) -> None:
        """Keeps the record."""
        self.kept = record

    def take(self) -> Record:
        """The record of the check that has just ended."""
        if self.kept is None:
            raise RuntimeError("the service recorded nothing")
        record, self.kept = self.kept, None
        return record


async def check_case(runtime: Runtime, sink: LastRecord, case: Case, credentials: Credentials) -> CaseResult:
    """The result of one case. `sink` is one of the runtime's service."""
    service, id = runtime.service, runtime.service.new_id()
    try:
        request = _request(case, credentials, id, service)
    except RequestRefused as error:
        outcome = service.refuse(error, id=id, door=DOOR)
    else:
        outcome = await service.check(request, door=DOOR)
    response = respond(outcome, id, service.disclosure)
    differences = tuple(_differences(case, outcome, response))
    record = sink.take()
    return CaseResult(
        name=case.shape.name,
        file=case.file,
        line=case.line,
        differences=differences,
        asked=_asked(record),
        hints=tuple(_hints(case, outcome, record, runtime.assembly)) if differences else (),
        route=record.route,
        policies=_policies(outcome),
    )


def _request(case: Case, credentials: Credentials, id: str, service: Service) -> Request:
    """As a door builds it, for a proxy that is trusted. Raises RequestRefused as `canonical_request` does."""
    shape = case.shape.request
    scheme, authority, target = split_url(shape.url)
    fields = [(name, value) for name, values in shape.headers.items() for value in values]
    return canonical_request(
        id=id,
        method=shape.method,
        scheme=scheme,
        host=authority,
        target=target,
        headers=Headers([*fields, *credentials.headers(case, time.time())]),
        peer=_TRUSTED,
        source_address=shape.source,
        extensions=credentials.extensions(case),
        rules=service.path_rules,
    )


# --- what came of it --------------------------------------------------------------------------------------


def _asked(record: Record) -> tuple[str, ...]:
    query = record.query
    if query is None:
        return ()
    # Not the token: its claims are in the case.
    context = ", ".join(f"{name}: {in_cedar(value)}" for name, value in query.context.items() if name != "token")
    asked = (f"{query.principal}, {query.action}, {query.resource}", f"route {record.route}")
    return (*asked, f"context {{{context}}}") if context else asked


def in_cedar(value: Value) -> str:
    """A value as a policy would write it."""
    match value:
        case EntityUid():
            return str(value)
        case Extension():
            return f"{value.function}({json.dumps(value.argument, ensure_ascii=False)})"
        case tuple():
            return f"[{', '.join(in_cedar(member) for member in value)}]"
        case str() | int():  # bool is an int
            return json.dumps(value, ensure_ascii=False)
        case _:
            return f"{{{', '.join(f'{name}: {in_cedar(member)}' for name, member in value.items())}}}"


def _differences(case: Case, outcome: Outcome, response: Response) -> Iterator[Difference]:
    expect = case.shape.expect
    actual = {"outcome": _name(outcome), "status": str(response.status), "reason": str(outcome.reason)}
    for field, got in actual.items():
        wanted = getattr(expect, field)
        if wanted is not None and str(wanted) != got:
            told = f"{got}: {outcome.reason}" if field == "outcome" and got != "allowed" else got
            yield Difference(field=field, expected=str(wanted), actual=told)
    if expect.policies is not None and set(expect.policies) != set(_policies(outcome)):
        yield Difference(field="policies", expected=_listed(expect.policies), actual=_decided(outcome))
    yield from _header_differences(expect, _headers(case, response))


def _header_differences(expect: ExpectShape, headers: Mapping[str, str]) -> Iterator[Difference]:
    for name, wanted in expect.headers.items():
        got = headers.get(name.lower())
        if got != wanted:
            text = NONE if wanted is None else wanted
            yield Difference(field=f"header {name}", expected=text, actual=NONE if got is None else got)


def _headers(case: Case, response: Response) -> dict[str, str]:
    """On allow, the headers that the upstream gets; else those of the answer."""
    if not response.allows:
        return dict(response.headers)
    found = {name.lower(): ", ".join(values) for name, values in case.shape.request.headers.items()}
    for name in response.remove:
        found.pop(name, None)
    return found | dict(response.headers)


def _name(outcome: Outcome) -> str:
    return type(outcome).__name__.lower()


def _policies(outcome: Outcome) -> tuple[str, ...]:
    match outcome:
        case Allowed():
            return outcome.decision.named
        case Denied():
            return outcome.policies
        case Failed():
            return ()


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or NONE


def _decided(outcome: Outcome) -> str:
    if _policies(outcome):
        return _listed(_policies(outcome))
    if isinstance(outcome, Failed):
        return f"{NONE}: no decision was made"
    asked = isinstance(outcome, Denied) and outcome.decision is not None
    return f"{NONE}: {'no policy permits, an implicit deny' if asked else 'no policy was asked'}"


def _hints(case: Case, outcome: Outcome, record: Record, assembly: Assembly) -> Iterator[str]:
    known = sorted(row.name or row.id for row in assembly.compiled.rows.values())
    for name in sorted(set(case.shape.expect.policies or ()) - set(known)):
        near = difflib.get_close_matches(name, known, n=1)
        yield f"there is no policy `{name}`" + (f"; did you mean `{near[0]}`?" if near else "")
    if isinstance(outcome, Denied | Failed) and outcome.detail:
        yield outcome.detail
    if outcome.reason is Reason.NO_ROUTE and record.request is not None:
        request = record.request
        yield f"asked for {request.method} {request.path.text} of the host {request.host}"
    if record.decision is not None:
        yield from _skipped(record.decision)


def _skipped(decision: Decision) -> Iterator[str]:
    """The policies that erred, by what was wrong: often it is one thing for all of them."""
    grouped: dict[str, list[str]] = {}
    for error in decision.errors:
        grouped.setdefault(_ENGINE.sub("", error.message), []).append(f"{error.effect} `{error.policy_id}`")
    for message, policies in grouped.items():
        yield f"{message}; skipped: {', '.join(policies)}"
