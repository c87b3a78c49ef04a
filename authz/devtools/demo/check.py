"""`authz demo --check`: makes the demo's requests, through Envoy and in the process, and judges each."""

from __future__ import annotations

import asyncio
import json
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout

import authz
from authz.devtools.demo import scenario
from authz.devtools.demo.folder import DemoFolder
from authz.devtools.demo.processes import DemoError
from authz.devtools.demo.scenario import Answer, Step
from authz.devtools.demo.screen import Row
from authz.devtools.demo.service import IDENTITY_HEADER

_TIMEOUT = ClientTimeout(total=10)
_PATIENCE = 10.0
"""Seconds after which an edit that does not count is given up, if more than that is not allowed anyway."""
_BETWEEN = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The running demo, asked."""

    session: ClientSession
    folder: DemoFolder
    port: int
    tokens: Mapping[str, str]
    within: float
    """Seconds after which the edit must count."""

    async def run(self) -> list[Row]:
        """Every request before the edit, the edit, and the changed one after it; of Envoy and of the library."""
        envoy = [_row("Envoy", step, step.through_envoy, await self.ask(step)) for step in scenario.STEPS]
        library = await self._library(scenario.STEPS)
        envoy.append(await self._edited(scenario.AFTER))
        return [*envoy, *library, *await self._library((scenario.AFTER,))]

    async def ask(self, step: Step) -> Answer:
        """What a client gets from Envoy."""
        address = f"http://{scenario.HOST}:{self.port}{step.path}"
        headers = self._authorization(step)
        try:
            async with self.session.request(step.method, address, headers=headers, timeout=_TIMEOUT) as response:
                return await answer_of_response(response)
        except (ClientError, TimeoutError) as error:
            return Answer(status=0, reason=f"no answer ({type(error).__name__})")

    async def _edited(self, step: Step) -> Row:
        """Runs the very command that users are told to paste, and asks until it counts; timed from the push on."""
        await _command(["sh", "-c", self.folder.edit_line])
        begun = time.monotonic()
        got = await self._until(step, begun + max(self.within, _PATIENCE))
        took = time.monotonic() - begun
        row = _row("Envoy", step, step.through_envoy, got)
        return replace(
            row,
            expected=f"{row.expected}, in {self.within:g} s",
            got=f"{row.got}, in {took:.2f} s",
            ok=row.ok and took <= self.within,
        )

    async def _until(self, step: Step, deadline: float) -> Answer:
        while True:
            got = await self.ask(step)
            if got == step.through_envoy or time.monotonic() > deadline:
                return got
            await asyncio.sleep(_BETWEEN)

    async def _library(self, steps: Sequence[Step]) -> list[Row]:
        try:
            async with authz.connect(self.folder.settings, watch=False, sinks=()) as az:
                return [
                    _row("library", step, step.expected, answer_of_outcome(await az.check(self._request(step))))
                    for step in steps
                ]
        except authz.Misconfigured as error:
            raise DemoError(f"the library refuses the settings:\n{error}") from None

    def _request(self, step: Step) -> authz.HttpRequest:
        return authz.HttpRequest(
            method=step.method,
            url=f"http://{scenario.HOST}{step.path}",
            headers=self._authorization(step),
            source_address=scenario.HOST,
        )

    def _authorization(self, step: Step) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens[step.person.name]}"} if step.person is not None else {}


def _row(asked: str, step: Step, expected: Answer, got: Answer) -> Row:
    return Row(
        asked=asked,
        request=str(step),
        expected=expected.told_apart_from(got),
        got=got.told_apart_from(expected),
        ok=got == expected,
    )


async def answer_of_response(response: ClientResponse) -> Answer:
    """What a client can tell from Envoy's answer: the service's if it was asked, else a problem document."""
    body = await _object(response)
    if response.status == 200:
        return Answer(status=200, user=_text(body, IDENTITY_HEADER))
    policies = body.get("policies")
    return Answer(
        status=response.status,
        reason=_text(body, "reason") or "without a problem document",
        policies=tuple(map(str, policies)) if isinstance(policies, list) else (),
        message=_text(body, "detail"),
        challenge=response.headers.get("WWW-Authenticate", "").startswith("Bearer "),
    )


async def _object(response: ClientResponse) -> dict[str, Any]:
    try:
        found = json.loads(await response.read())
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    return value if isinstance(value, str) else ""


def answer_of_outcome(outcome: authz.Outcome) -> Answer:
    """The same, from the library's outcome. A caller without a credential is told which counts on each 401."""
    match outcome:
        case authz.Allowed():
            user = dict(outcome.edits.set).get(IDENTITY_HEADER, "")
            return Answer(status=200, reason=outcome.reason.value, policies=outcome.decision.named, user=user)
        case authz.Denied():
            return Answer(
                status=outcome.status,
                reason=outcome.reason.value,
                policies=outcome.policies,
                message=" ".join(outcome.decision.messages) if outcome.decision is not None else "",
                challenge=outcome.status == 401,
            )
        case authz.Failed():
            return Answer(status=outcome.status, reason=outcome.reason.value)


async def _command(words: Sequence[str]) -> None:
    """Runs a command line.

    Raises:
        DemoError: it cannot be run, or fails.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *words, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        _, problem = await process.communicate()
    except OSError as error:
        raise DemoError(f"`{words[0]}` cannot be started: {error.strerror}") from None
    if process.returncode != 0:
        raise DemoError(f"`{shlex.join(words)}` failed: {problem.decode(errors='replace').strip()}")
