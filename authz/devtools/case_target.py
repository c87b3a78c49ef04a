"""Which cases are run against what: the application of an `authz.yaml`, or a folder that stands alone."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from authz.config.shape import Groups
from authz.config.yaml_text import read_document
from authz.core.cedar_schema import Schema
from authz.core.errors import Problem
from authz.devtools.case_file import CaseFile, IssuerSettings, find_case_files
from authz.devtools.cases import CONFIG_FILE
from authz.wiring.assembly import Assembled, Assembly, assemble
from authz.wiring.issuers import IssuerPlan, plan_issuers

ROUTES_FILE = "routes.yaml"
GROUPS_CLAIM = "groups"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One application, and the case files to be run against it."""

    config: Path | None
    """Its `authz.yaml`; None: it is the folder alone."""
    folder: Path
    """With its policies; for an `authz.yaml` without paths, where its cases are."""
    files: tuple[Path, ...]
    whole: bool
    """Were folders named, not single files?"""

    @property
    def name(self) -> str:
        """For the report."""
        return str(self.config or self.folder)


def targets(paths: Sequence[Path], config: Path | None, problems: list[Problem]) -> tuple[Target, ...]:
    """What is to be run. Paths where nothing is to be found are appended to `problems`."""
    if config is not None:
        folder = policies_folder(config)
        asked = paths or ((folder / "cases",) if folder is not None else ())
        if not asked and config.is_file():
            text = "name the case files, as in `authz test cases`: the policies are in no folder that could have them"
            problems.append(Problem(message=text, file=str(config)))
        files = _files(asked, problems)
        found = Target(config=config, folder=folder or config.parent, files=files, whole=_whole(paths))
        return (found,)
    grouped: dict[Path, list[Path]] = {}
    for path in paths:
        folder = application_folder(path)
        if folder is None and path.exists():
            text = f"there is no `{ROUTES_FILE}` in the folder or above it; name an `{CONFIG_FILE}` with `--config`"
            problems.append(Problem(message=text, file=str(path)))
        else:
            grouped.setdefault(folder or path, []).append(path)
    return tuple(
        Target(config=None, folder=folder, files=_files(asked, problems), whole=_whole(asked))
        for folder, asked in grouped.items()
    )


def _whole(paths: Iterable[Path]) -> bool:
    return not any(path.is_file() for path in paths)


def _files(paths: Iterable[Path], problems: list[Problem]) -> tuple[Path, ...]:
    found: dict[Path, None] = {}
    for path in paths:
        files = find_case_files(path) if path.exists() else ()
        if not files:
            text = "there are no case files (`*.yaml`) here" if path.exists() else "there is no such file or folder"
            problems.append(Problem(message=text, file=str(path)))
        found |= dict.fromkeys(files)
    return tuple(found)


def application_folder(path: Path) -> Path | None:
    """The folder with a `routes.yaml`: the path, the folder around it, or the one around `cases`."""
    whole = path.resolve()
    found = [folder for folder in (whole, *whole.parents[:2]) if (folder / ROUTES_FILE).is_file()]
    # Cases about routes may well be called `cases/routes.yaml`.
    found.sort(key=lambda folder: folder.name == "cases")
    return shown(found[0]) if found else None


def shown(path: Path) -> Path:
    """The path as one would write it here: relative where it is below the current folder."""
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path


def policies_folder(config: Path) -> Path | None:
    """What a configuration's `policies.path` names; None where it cannot be read so far."""
    data = read_document(config).data
    policies = data.get("policies") if isinstance(data, dict) else None
    path = policies.get("path") if isinstance(policies, dict) else None
    return config.parent / path if isinstance(path, str) else None


def default_config(paths: Sequence[Path], config: Path) -> Path | None:
    """`config`, if there is such a file and the paths are not other applications."""
    if not config.is_file():
        return None
    own = policies_folder(config)
    for path in paths:
        folder = application_folder(path)
        if folder is not None and (own is None or folder.resolve() != own.resolve()):
            return None
    return config


def assemble_folder(folder: Path, source: CaseFile) -> Assembled:
    """The application in a folder, with the one issuer that a case file asks for.

    It goes the way of every configuration, so that cases find the same problems as a start would.
    """
    home = folder.resolve()
    with tempfile.TemporaryDirectory(prefix="authz-test-") as temporary:
        file = Path(temporary) / CONFIG_FILE
        file.write_text(_configuration(home, source.issuer), encoding="utf-8")
        assembled = assemble(file)
    problems = tuple(_placed(problem, file, home, folder, source) for problem in assembled.problems)
    found = assembled.assembly
    if found is not None and "groups" not in source.issuer.model_fields_set:
        found = _with_groups(found)
    return Assembled(assembly=found, problems=problems)


def _configuration(home: Path, settings: IssuerSettings) -> str:
    issuer = settings.model_dump(mode="json", exclude_none=True)
    data: dict[str, Any] = {
        "issuers": [
            issuer
            | {
                "leeway": f"{settings.leeway:.3f}s",
                "algorithms": ["ES256"],
                "jwks_uri": "https://cases.invalid/keys",  # never asked: the run has keys of its own
            }
        ],
        "policies": {"path": str(home)},
        "routes": str(home / ROUTES_FILE),
    }
    # JSON is YAML; but `${` begins a variable there.
    return json.dumps(data, ensure_ascii=False).replace("${", "$${")


def _placed(problem: Problem, file: Path, home: Path, folder: Path, source: CaseFile) -> Problem:
    if problem.file == str(file):
        return replace(problem, file=source.file, line=source.issuer_line)
    if Path(problem.file).is_relative_to(home):
        return replace(problem, file=str(folder / Path(problem.file).relative_to(home)))
    return problem


def _with_groups(assembly: Assembly) -> Assembly:
    """Where the schema lets principals be in one type only, that is the type of their groups."""
    group = _only_group_type(assembly.issuers[0], assembly.compiled.schema)
    if group is None:
        return assembly
    shape = assembly.config.shape
    issuer = shape.issuers[0].model_copy(update={"groups": Groups(type=group, claim=GROUPS_CLAIM)})
    config = replace(assembly.config, shape=shape.model_copy(update={"issuers": (issuer,)}))
    problems: list[Problem] = []
    plans = plan_issuers(config, assembly.compiled.schema, problems)
    return replace(assembly, config=config, issuers=plans) if not problems else assembly


def _only_group_type(plan: IssuerPlan, schema: Schema | None) -> str | None:
    principal = plan.source.principal_type
    declared = schema.entities.get(principal) if schema is not None else None
    groups = sorted(set(declared.member_of) - {principal}) if declared is not None else []
    return groups[0] if len(groups) == 1 else None
