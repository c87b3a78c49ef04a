"""`authz avp push`: shows what it would do, and does it where that was asked for."""

from __future__ import annotations

import argparse
import re
import sys
import uuid

from authz.aws.errors import AvpError, Kind
from authz.core.errors import Misconfigured, Problem
from authz.devtools.avp.advice import advice_on
from authz.devtools.avp.apply import Push
from authz.devtools.avp.arguments import ALIAS
from authz.devtools.avp.command import DONE, TO_DO, agreed, folder_of, planned, remote_of, said, show
from authz.devtools.avp.content import Content, Store
from authz.devtools.avp.plan import Plan
from authz.devtools.avp.remote import Remote, read_store
from authz.devtools.avp.report import interrupted_text, safe, step_text, stopped_text
from authz.devtools.avp.steps import Step

_NOT_YET = frozenset({Kind.MISSING})
_USER = re.compile(r"//[^/]*@")
"""Name and password in an address."""


def main_push(arguments: argparse.Namespace) -> int:
    """Gives the exit code.

    Raises:
        Misconfigured: nothing was done, for something cannot be used.
        AvpError: the store cannot be read.
    """
    _check_arguments(arguments)
    wanted, problems = folder_of(arguments)
    remote = remote_of(arguments)
    reference = _reference(arguments, remote)
    store = read_store(remote, reference) if reference else Store(id="", strict=wanted.schema is not None)
    found = planned(wanted, store, arguments, problems)
    show(found, store, arguments.folder, arguments.rate)
    if not found.changes and reference:
        return DONE
    if not agreed(arguments, _question(store, remote)):
        return TO_DO
    if not arguments.yes and reference:  # somebody thought about it for a while
        found = _same(found, wanted, arguments, remote, reference)
    if reference:
        return _push(found.steps, store, arguments, remote)
    made = _create(store, arguments, remote)
    return TO_DO if made is None else _push(found.steps, made, arguments, remote)


def _question(store: Store, remote: Remote) -> str:
    """Names where it goes: a push to the wrong store is hard to take back."""
    meta = remote.client.meta
    endpoint = _USER.sub("//", meta.endpoint_url)
    where = f"policy store {store.id}" if store.id else "a new policy store"
    return safe(f"push to {where} in {meta.region_name} ({endpoint})?")


def _check_arguments(arguments: argparse.Namespace) -> None:
    text = ""
    if arguments.create and arguments.store:
        text = "`--create` makes a new store, `--store` names one that there is: give one of them"
    elif not arguments.create and bool(arguments.store) == bool(arguments.alias):
        text = "expected one of `--store ID`, `--alias NAME` and `--create`"
    if text:
        raise Misconfigured((Problem(message=text),))


def _alias(arguments: argparse.Namespace) -> str:
    return ALIAS + arguments.alias.removeprefix(ALIAS) if arguments.alias else ""


def _reference(arguments: argparse.Namespace, remote: Remote) -> str:
    """What names the store in calls; empty: it is still to be made."""
    alias = _alias(arguments)
    if not arguments.create:
        return str(arguments.store or alias)
    if not alias:
        return ""
    try:
        found = remote.call("get_policy_store_alias", aliasName=alias)
    except AvpError as error:
        if error.kind is Kind.MISSING:
            return ""
        raise
    if found["state"] != "Active":
        text = f"the alias `{arguments.alias}` is {found['state']}: its name is free a day after it was deleted"
        raise Misconfigured((Problem(message=text),))
    said(f"the alias `{arguments.alias}` has a store, {found['policyStoreId']}: none is made")
    return alias


def _same(found: Plan, wanted: Content, arguments: argparse.Namespace, remote: Remote, reference: str) -> Plan:
    again = planned(wanted, read_store(remote, reference), arguments, ())
    if again.steps != found.steps:
        text = "the store changed while the question stood: nothing was done; push again"
        raise Misconfigured((Problem(message=text),))
    return again


def _create(store: Store, arguments: argparse.Namespace, remote: Remote) -> Store | None:
    """Makes the store, and waits until it is seen; None: it was made, but then something failed, which is told."""
    mode = "STRICT" if store.strict else "OFF"
    # One token for all tries of this run, and none for the next: two stores may well be wanted.
    made = remote.call("create_policy_store", clientToken=str(uuid.uuid4()), validationSettings={"mode": mode})
    id = made["policyStoreId"]
    print(f"policy store {id} ({mode})", flush=True)
    try:
        remote.call("get_policy_store", _NOT_YET, policyStoreId=id)
        alias = _alias(arguments)
        if alias:
            remote.call("create_policy_store_alias", _NOT_YET, aliasName=alias, policyStoreId=id)
    except AvpError as error:
        said("; ".join(filter(None, (str(error), advice_on(error)))))
        said(f"the policy store {id} was made, and nothing else: go on with `--store {id}`")
        return None
    return Store(id=id, strict=store.strict)


def _push(steps: tuple[Step, ...], store: Store, arguments: argparse.Namespace, remote: Remote) -> int:
    push = Push(remote, store.id)
    begun: list[Step] = []

    def begin(number: int, step: Step) -> None:
        begun.append(step)
        said(f"[{number}/{len(steps)}] {step_text(step)}")

    again = f" (`--store {store.id}`)" if arguments.create else ""
    try:
        result = push.run(steps, begin)
    except KeyboardInterrupt:
        doubtful = begun[-1] if len(begun) > len(push.applied) else None
        print(interrupted_text(push.applied, doubtful, steps[len(begun) :], again), end="", file=sys.stderr)
        raise
    if result.failed is not None:
        print(stopped_text(result, again), end="", file=sys.stderr)
        return TO_DO
    print(f"done: {len(steps)} call{'s' if len(steps) != 1 else ''}")
    return DONE
