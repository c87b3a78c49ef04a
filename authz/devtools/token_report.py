"""`authz token`: one token held against the configuration, check by check.

Neither the token nor its signature is printed. Its claims are: whoever holds the token can read them anyway.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from authz.authn.compact import unverified_token
from authz.authn.issuer import Issuer
from authz.authn.jwks import RemoteKeys, StaticKeys
from authz.authn.keys import Keys, KeySet, VerificationKey
from authz.core.errors import KeysUnavailable, Unauthenticated
from authz.core.model import Identity
from authz.devtools.case_check import in_cedar
from authz.devtools.token_examine import Examination, examine
from authz.devtools.token_words import moment, printable, told
from authz.devtools.token_yield import seen_by_policies, unsayable
from authz.wiring.assembly import Assembly, assemble
from authz.wiring.issuers import RemotePlan

GOOD, BAD, UNUSABLE = 0, 1, 2
"""Exit codes: the token counts; it does not, or nobody can know; the configuration or the input cannot be used."""
MAX_INPUT = 1024 * 1024
STDIN = "-"
_DATES = frozenset({"exp", "nbf", "iat", "auth_time"})


class NoToken(Exception):
    """There is no token to look at; says why."""


def add_token_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `authz token`, but for `--config`."""
    parser.description = (
        "Verifies one token as `authz serve` would, and says check by check what holds, what fails and what was not "
        "reached; then which principal, groups and attributes come of it. Prints claims, never a signature. "
        "Exit code 0: the token counts; 1: it does not; 2: the configuration or the input cannot be used."
    )
    parser.add_argument(
        "token", nargs="?", metavar="TOKEN", help="`-`, the default: standard input. Others see arguments: prefer it"
    )
    parser.add_argument("--file", type=Path, metavar="FILE", help="read the token from a file")
    parser.add_argument("--offline", action="store_true", help="do not fetch the issuer's keys")
    parser.add_argument("--json", action="store_true", help="print JSON")


def main_token(arguments: argparse.Namespace) -> int:
    """`authz token`: prints the report, gives the exit code. Raises Misconfigured for an unusable configuration."""
    assembly = assemble(arguments.config).required()
    try:
        token = read_token(arguments.token, arguments.file)
    except NoToken as error:
        print(f"authz token: {error}", file=sys.stderr)
        return UNUSABLE
    now = time.time()
    found = asyncio.run(_examined(assembly, token, now, offline=arguments.offline))
    if arguments.json:
        print(json.dumps(report_json(found, assembly), indent=2))
    else:
        print(format_report(found, assembly))
    return GOOD if found.identity is not None else BAD


def read_token(argument: str | None, file: Path | None) -> str:
    """The token, without space around it and without `Bearer`.

    Raises:
        NoToken: there is none, or more than one place for it.
    """
    if argument is not None and file is not None:
        raise NoToken("a token comes from one place: TOKEN, `-`, or --file")
    if argument not in {None, STDIN}:
        text = "others see it in the list of processes, and the shell remembers it; standard input is safer"
        print(f"authz token: the token is an argument: {text}", file=sys.stderr)
        raw = str(argument).encode(errors="replace")
    else:
        raw = _read(file)
    if len(raw) > MAX_INPUT:
        raise NoToken(f"expected a token, found more than {MAX_INPUT} bytes")
    token = raw.decode(errors="replace").strip()
    scheme, _, rest = token.partition(" ")
    token = rest.strip() if scheme.lower() == "bearer" else token
    if not token:
        raise NoToken("there is no token to look at: the input is empty")
    return token


def _read(file: Path | None) -> bytes:
    if file is None:
        if sys.stdin.isatty():
            print("paste the token, then press Enter and Ctrl-D", file=sys.stderr)
        return sys.stdin.buffer.read(MAX_INPUT + 1)
    try:
        with file.open("rb") as stream:
            return stream.read(MAX_INPUT + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "no file has such a name"
        raise NoToken(f"`{file}` cannot be read: {why}") from None


# --- keys -------------------------------------------------------------------------------------------------


class NotFetched:
    """The keys of an issuer that was not asked for them."""

    symmetric = False
    age = float("inf")

    def __init__(self, why: str) -> None:
        self._why = why

    def current(self) -> Keys | None:
        """None."""
        return None

    async def key(self, kid: str | None, alg: str) -> VerificationKey:
        """Raises KeysUnavailable."""
        raise KeysUnavailable(self._why)


async def _examined(assembly: Assembly, token: str, now: float, *, offline: bool) -> Examination:
    async with _issuers(assembly, token, offline=offline) as issuers:
        limit = assembly.config.shape.limits.token_bytes
        return await examine(token, issuers, now=now, deny_list=assembly.deny_list, max_token=limit)


@asynccontextmanager
async def _issuers(assembly: Assembly, token: str, *, offline: bool) -> AsyncIterator[tuple[Issuer, ...]]:
    """Every issuer; only the keys of the one that the token names are fetched, if the token needs them."""
    async with AsyncExitStack() as stack:
        named = _named(token)
        issuers: list[Issuer] = []
        for plan in assembly.issuers:
            keys: KeySet
            if isinstance(plan.keys, StaticKeys):
                keys = plan.keys
            elif plan.shape.issuer != named or offline:
                keys = NotFetched("the keys were not fetched, for `--offline` was given")
            else:
                keys = await _remote(stack, plan.keys)
            issuers.append(plan.issuer(keys))
        yield tuple(issuers)


async def _remote(stack: AsyncExitStack, plan: RemotePlan) -> RemoteKeys:
    import aiohttp

    session = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
    # Not started: it reads when the verifier asks for a key, once, and each of its requests has its own time limit.
    keys = RemoteKeys(session, plan.source, interval=plan.interval, cooldown=plan.cooldown, max_age=plan.max_age)
    stack.push_async_callback(keys.stop)
    return keys


def _named(token: str) -> object:
    try:
        return unverified_token(token).claims.get("iss")
    except Unauthenticated:
        return None


# --- the report -------------------------------------------------------------------------------------------


def report_json(found: Examination, assembly: Assembly) -> dict[str, Any]:
    """The report for programs."""
    verdict = "good" if found.identity is not None else "unknown" if _is_failure(found) else "bad"
    return {
        "verdict": verdict,
        "reason": str(found.error.reason) if found.error is not None else None,
        "signed": found.signed,
        "checks": [
            {"name": check.name, "state": check.state, "reason": check.reason, "detail": check.detail}
            for check in found.checks
        ],
        "header": dict(found.header),
        "claims": dict(found.claims),
        "identity": _identity_json(found.identity, assembly) if found.identity is not None else None,
    }


def _identity_json(identity: Identity, assembly: Assembly) -> dict[str, Any]:
    lost = unsayable(identity.claims, access=identity.token is not None)
    return {
        "principal": str(identity.principal),
        "groups": [str(uid) for uid in _groups(identity)],
        "issuer": identity.issuer,
        "subject": identity.subject,
        "expires_at": identity.expires_at,
        "lost": [{"claim": part.path, "why": part.why} for part in lost],
        "policies_see": [
            {
                "where": seen.where,
                "actions": list(seen.actions),
                "value": in_cedar(seen.kept) if seen.kept is not None else None,
                "left_out": list(seen.left_out),
                "misfit": seen.misfit or None,
            }
            for seen in seen_by_policies(identity, assembly.compiled.schema)
        ],
    }


def format_report(found: Examination, assembly: Assembly) -> str:
    """The report for people."""
    width = max(len(check.name) for check in found.checks)
    lines = ["checks"]
    for check in found.checks:
        mark = {"holds": "ok  ", "fails": "FAIL", "not reached": "-   "}[check.state]
        reason = f"{check.reason}: " if check.reason is not None else ""
        text = f"{reason}{printable(check.detail)}" if check.state != "not reached" else "not reached"
        lines.append(f"  {mark}  {check.name:<{width}}  {text}")
    unverified = "" if found.signed else "  (nobody has vouched for this)"
    for title, members in (("header", found.header), ("claims", found.claims)):
        if members:
            lines += ["", f"{title}{unverified}", *_members(members, found.now)]
    if found.identity is not None:
        lines += ["", *_identity_lines(found.identity, assembly)]
    return "\n".join([*lines, "", _verdict(found)])


def _members(members: Mapping[str, Any], now: float) -> Iterator[str]:
    for name, value in members.items():
        when = f"  ({moment(value, now)})" if name in _DATES and isinstance(value, int | float) else ""
        yield f"  {printable(name)}: {told(value)}{when}"


def _identity_lines(identity: Identity, assembly: Assembly) -> Iterator[str]:
    yield "identity"
    yield f"  principal  {printable(str(identity.principal))}"
    for uid in _groups(identity):
        yield f"  in         {printable(str(uid))}"
    for part in unsayable(identity.claims, access=identity.token is not None):
        yield f"  dropped    {printable(part.path)}: {part.why}"
    for seen in seen_by_policies(identity, assembly.compiled.schema):
        yield ""
        yield f"policies see, as {seen.where}" + (f", for {', '.join(seen.actions)}" if seen.actions else "")
        if seen.kept is None:
            yield f"  FAIL  claims_mismatch: {printable(seen.misfit)}: each request would be answered with 503"
            continue
        yield from (f"  {printable(name)}: {printable(in_cedar(value))}" for name, value in seen.kept.items())
        if not seen.kept:
            yield "  (nothing)"
        if seen.left_out:
            yield f"  left out, for the schema does not declare it: {printable(', '.join(seen.left_out))}"


def _groups(identity: Identity) -> list[Any]:
    entity = next((entity for entity in identity.entities.entities if entity.uid == identity.principal), None)
    return sorted(entity.parents) if entity is not None else []


def _is_failure(found: Examination) -> bool:
    return isinstance(found.error, KeysUnavailable)


def _verdict(found: Examination) -> str:
    if found.error is None:
        return "good: the token counts"
    if _is_failure(found):
        return f"unknown: {found.error.reason}; requests with this token are answered with {found.error.status}"
    return f"bad: {found.error.reason}; requests with this token are answered with {found.error.status}"
