"""One run: everything is read first, and only if all of it is right are the cases run, one after the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from authz.core.errors import Misconfigured, Problem
from authz.core.model import Policy, TemplateLink
from authz.core.routes import Route
from authz.devtools.case_check import LastRecord, check_case
from authz.devtools.case_credentials import Credentials
from authz.devtools.case_file import Case, CaseFile, read_case_file
from authz.devtools.case_report import CaseResult, Coverage, Report, Uncovered
from authz.devtools.case_target import Target, assemble_folder, shown, targets
from authz.devtools.case_tokens import Signer
from authz.pdp.stored_entities import read_entities
from authz.wiring.assembly import Assembly, assemble
from authz.wiring.runtime import running

DEADLINE = 60.0
"""Seconds for one case: how busy the machine is must not decide it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """Cases that share one assembly but for their entities."""

    credentials: Credentials
    cases: tuple[tuple[Case, Assembly], ...]


async def run(paths: Sequence[Path], config: Path | None) -> Report:
    """The report of a run; see `authz.devtools.cases.run_cases`."""
    problems: list[Problem] = []
    found = targets(paths, config, problems)
    runs = [(target, await asyncio.to_thread(_prepare, target, problems)) for target in found]
    told = tuple(dict.fromkeys(problems))
    if any(problem.severity == "error" for problem in told):
        return Report(problems=told)
    results: list[CaseResult] = []
    coverage: list[Coverage] = []
    for target, prepared in runs:
        mine = [result for part in prepared for result in await _run(part)]
        results += mine
        coverage.append(_coverage(target, prepared, mine))
    return Report(results=tuple(results), coverage=tuple(coverage), problems=told)


# --- what is run ------------------------------------------------------------------------------------------


def _prepare(target: Target, problems: list[Problem]) -> tuple[_Prepared, ...]:
    files = [file for path in target.files if (file := read_case_file(path, problems)) is not None]
    if target.config is not None:
        assembled = assemble(target.config)
        problems.extend(assembled.problems)
        return _with_cases(assembled.assembly, files, problems)
    parts: dict[object, list[CaseFile]] = {}
    for file in files:
        # Not asked for at all is another thing than asked for none.
        parts.setdefault((file.issuer, "groups" in file.issuer.model_fields_set), []).append(file)
    prepared: list[_Prepared] = []
    for part in parts.values():
        assembled = assemble_folder(target.folder, part[0])
        problems.extend(assembled.problems)
        prepared.extend(_with_cases(assembled.assembly, part, problems))
    return tuple(prepared)


def _with_cases(assembly: Assembly | None, files: Iterable[CaseFile], problems: list[Problem]) -> tuple[_Prepared, ...]:
    if assembly is None:
        return ()
    try:
        signers = tuple(Signer.of(plan) for plan in assembly.issuers)
    except Misconfigured as error:
        problems.extend(error.problems)
        return ()
    shape = assembly.config.shape
    limits = shape.limits.model_copy(update={"deadline": DEADLINE})
    config = replace(assembly.config, shape=shape.model_copy(update={"limits": limits}))
    credentials, believing = Credentials.of(signers, assembly)
    base = replace(believing, config=config, issuers=tuple(signer.plan for signer in signers))
    cases = tuple((case, _with_entities(base, case, problems)) for file in files for case in file.cases)
    problems.extend(case.problem(key, text) for case, _ in cases for key, text in credentials.problems(case))
    return (_Prepared(credentials=credentials, cases=cases),)


def _with_entities(assembly: Assembly, case: Case, problems: list[Problem]) -> Assembly:
    if not case.shape.entities:
        return assembly
    compiled, wrong = assembly.compiled, list[Problem]()
    own = read_entities(case.shape.entities, compiled.schema, compiled.engine_schema, case.file, wrong)
    problems.extend(case.problem("entities", problem.message) for problem in wrong)
    return replace(assembly, compiled=replace(compiled, entities={**compiled.entities, **own}))


# --- one run ----------------------------------------------------------------------------------------------


async def _run(prepared: _Prepared) -> list[CaseResult]:
    if not prepared.cases:
        return []
    results: list[CaseResult] = []
    applied = prepared.cases[0][1]
    async with running(applied, watching=False) as runtime:
        sink = LastRecord()
        runtime.service.sinks = (sink,)
        for case, assembly in prepared.cases:
            if assembly is not applied:
                await runtime.apply(assembly)
                applied = assembly
            began = time.perf_counter()
            result = await check_case(runtime, sink, case, prepared.credentials)
            results.append(replace(result, seconds=time.perf_counter() - began))
    return results


# --- coverage ---------------------------------------------------------------------------------------------


def _coverage(target: Target, prepared: Sequence[_Prepared], results: Sequence[CaseResult]) -> Coverage:
    used = {name for result in results for name in result.policies}
    asked = {result.route for result in results}
    missing: list[Uncovered] = []
    if prepared and prepared[0].cases:
        assembly = prepared[0].cases[0][1]
        snapshot = assembly.compiled.snapshot
        policies: tuple[Policy | TemplateLink, ...] = (*snapshot.policies, *snapshot.links)
        missing += [_uncovered("policy", name, item) for item in policies if (name := item.name or item.id) not in used]
        missing += [
            _uncovered("route", route.name, route) for route in assembly.routes.routes if route.name not in asked
        ]
    return Coverage(application=target.name, whole=target.whole, uncovered=tuple(missing))


def _uncovered(kind: str, name: str, item: Policy | TemplateLink | Route) -> Uncovered:
    return Uncovered(kind=kind, name=name, file=str(shown(Path(item.file))), line=item.line)
