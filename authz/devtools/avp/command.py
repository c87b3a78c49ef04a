"""`authz avp plan | diff | push | pull`.

Exit codes: 0 nothing to do, or done; 1 there is something to do, and it was only shown, or not all of it could be
done; 2 folder, store or arguments cannot be used, and nothing was done; 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from authz.aws.budget import Budget
from authz.aws.client import avp_client
from authz.aws.errors import AvpError
from authz.aws.settings import AvpSettings
from authz.core.errors import Misconfigured, PoliciesUnavailable, Problem
from authz.devtools.avp.advice import advice_on_reading
from authz.devtools.avp.check import check
from authz.devtools.avp.content import Content, Store
from authz.devtools.avp.diff import difference
from authz.devtools.avp.folder import read_folder
from authz.devtools.avp.plan import Plan, plan
from authz.devtools.avp.remote import FIRST_WAIT, Remote, read_store
from authz.devtools.avp.report import plan_json, plan_text, safe
from authz.devtools.avp.units import classified

if TYPE_CHECKING:
    from types_boto3_verifiedpermissions import VerifiedPermissionsClient

DONE, TO_DO, UNUSABLE = 0, 1, 2


def main_avp(arguments: argparse.Namespace) -> int:
    """`authz avp`: runs one of its commands, gives the exit code.

    Raises:
        Misconfigured: folder, store or arguments cannot be used.
    """
    from authz.devtools.avp.pulling import main_pull
    from authz.devtools.avp.pushing import main_push

    commands = {"plan": _plan, "diff": _diff, "push": main_push, "pull": main_pull}
    try:
        return commands[arguments.avp_command](arguments)
    except AvpError as error:
        raise Misconfigured(unreadable(error, arguments)) from None
    except PoliciesUnavailable as error:
        raise Misconfigured((Problem(message=str(error)),)) from None


def unreadable(error: AvpError, arguments: argparse.Namespace) -> tuple[Problem, ...]:
    """Why a store cannot be read, with what to do about it."""
    advice = advice_on_reading(error, alias=not arguments.store)
    details = (f"{path}: {message}" if path else message for path, message in error.details)
    text = "; ".join(filter(None, (str(error), *details, advice)))
    store = arguments.store or arguments.alias
    return (Problem(message=f"{f'policy store `{store}`' if store else 'a new policy store'}: {text}"),)


def remote_of(arguments: argparse.Namespace) -> Remote:
    """How the store is reached.

    Raises:
        Misconfigured: no client can be made.
        AvpError: `credentials`, where those cannot be had.
    """
    settings = AvpSettings(
        policy_store=arguments.store or "",
        region=arguments.region,
        endpoint=arguments.endpoint,
        profile=arguments.profile,
        connect_timeout=5.0,
        read_timeout=30.0,
        connections=1,
        attempts=1,  # trying again is ours: within the budget, and told
    )
    return Remote(client=_client(settings), budget=Budget(arguments.rate), say=said, first_wait=FIRST_WAIT)


def _client(settings: AvpSettings) -> VerifiedPermissionsClient:
    try:
        return avp_client(settings)
    except Misconfigured as error:
        if type(error.__context__).__name__ != "NoRegionError":  # boto3's, which is not imported for this
            raise
        text = "no region is known: name it by `--region`, by AWS_REGION, or in the profile; also with `--endpoint`"
        raise Misconfigured((Problem(message=text),)) from None


def said(text: str) -> None:
    """Progress, beside what is printed."""
    print(safe(text), file=sys.stderr, flush=True)


def folder_of(arguments: argparse.Namespace) -> tuple[Content, list[Problem]]:
    """The folder's content, and warnings.

    Raises:
        Misconfigured: with every problem.
    """
    folder: Path = arguments.folder
    if not folder.is_dir():
        text = f"FOLDER: `{folder}` is no folder: name the one that holds the policies"
        raise Misconfigured((Problem(message=text),))
    problems: list[Problem] = []
    content = read_folder(folder, problems)
    refuse(problems)
    return content, problems


def refuse(problems: Sequence[Problem]) -> None:
    """Raises all of them where one is an error."""
    if any(problem.severity == "error" for problem in problems):
        raise Misconfigured(tuple(problems))


def planned(wanted: Content, store: Store, arguments: argparse.Namespace, problems: Sequence[Problem]) -> Plan:
    """A plan that can be carried out.

    Raises:
        Misconfigured: it cannot; with every problem.
    """
    found = plan(wanted, store, delete=arguments.delete)
    refused = check(found, wanted, store, quotas=not arguments.ignore_quotas)
    everything = (*problems, *found.problems, *refused)
    refuse(everything)
    return replace(found, problems=everything)


def tell(problems: Sequence[Problem]) -> None:
    """Warnings, beside what is printed."""
    for problem in problems:
        print(problem, file=sys.stderr)


def agreed(arguments: argparse.Namespace, question: str) -> bool:
    """Was it asked for, on the command line or now?"""
    if arguments.yes:
        return True
    if not sys.stdin.isatty():
        said("nothing was changed: `--yes` does it")
        return False
    try:
        return input(f"{question} [y/N] ").strip().lower() in {"y", "yes"}
    except EOFError:
        return False


def show(found: Plan, store: Store, folder: Path, rate: float) -> None:
    """Prints a plan for people."""
    tell(found.problems)
    print(plan_text(found, store, str(folder), rate), end="", flush=True)


def _plan(arguments: argparse.Namespace) -> int:
    wanted, problems = folder_of(arguments)
    store = read_store(remote_of(arguments), arguments.store)
    found = planned(wanted, store, arguments, problems)
    if arguments.json:
        print(plan_json(found, store, str(arguments.folder)))
    else:
        show(found, store, arguments.folder, arguments.rate)
    return TO_DO if found.changes else DONE


def _diff(arguments: argparse.Namespace) -> int:
    wanted, problems = folder_of(arguments)
    store = read_store(remote_of(arguments), arguments.store)
    tell(problems)
    text = difference(classified(wanted, store.content, delete=True), wanted, store.content)
    print(text, end="")
    return TO_DO if text else DONE
