"""Whether an authorizer's answers are right: before it is measured, and under load. The list is also in JOB.md."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bench.load import Load
from bench.workload import Ask, Workload

IN_FLIGHT = 256
"""How many requests may be under way when the load generator stops counting; generous."""
UNAUTHENTICATED = frozenset({401, 403})
"""What a peer may answer where the credential does not count. authz says 401."""
NO_ROUTE = frozenset({403, 404, 405})
"""What a peer may answer to what is not described. authz says 403."""

Fields = list[tuple[str, str]]
Asking = Callable[[str, str, Fields], Awaitable[int]]
"""Sends method, path and headers; the status that the client gets."""


class WrongAnswer(Exception):
    """An answer is not what it must be: nothing is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A request outside the round that must be refused."""

    name: str
    method: str
    path: str
    credential: str | None = field(repr=False)
    """Value of `Authorization`; None: the request has none."""
    statuses: frozenset[int]
    ours: int
    """What authz itself must answer."""


def probes(made: Workload) -> list[Probe]:
    """What must be refused whoever decides, for a request that is allowed with its own token."""
    allowed = made.probed
    good = f"Bearer {made.tokens[allowed.user]}"

    def unauthenticated(name: str, credential: str | None) -> Probe:
        return Probe(
            name=name, method="GET", path=allowed.path, credential=credential, statuses=UNAUTHENTICATED, ours=401
        )

    def no_route(name: str, method: str, path: str) -> Probe:
        return Probe(name=name, method=method, path=path, credential=good, statuses=NO_ROUTE, ours=403)

    return [
        unauthenticated("no-credential", None),
        *(unauthenticated(name, f"Bearer {token}") for name, token in made.bad_tokens.items()),
        no_route("other-path", "GET", "/elsewhere"),
        no_route("other-method", "DELETE", allowed.path),
    ]


def fields(made: Workload, credential: str | None) -> Fields:
    """What a client sends beside method and path."""
    usual = [pair for pair in made.headers(made.asks[0]) if pair[0] not in {"Host", "Authorization"}]
    return usual if credential is None else [*usual, ("Authorization", credential)]


async def check_round(asking: Asking, name: str, made: Workload, asks: Iterable[Ask], *, decides: bool) -> None:
    """Raises WrongAnswer unless what is allowed gets 200, and what is denied 403."""
    for ask in asks:
        wanted = 200 if ask.allowed or not decides else 403
        status = await asking(ask.method, ask.path, fields(made, f"Bearer {made.tokens[ask.user]}"))
        if status != wanted:
            who = made.users[ask.user].name
            raise WrongAnswer(f"{name}: {ask.method} {ask.path} by {who}: {status}, not {wanted} (bench/JOB.md)")


async def check_probes(asking: Asking, name: str, made: Workload, found: Sequence[Probe], *, exact: bool) -> None:
    """Raises WrongAnswer unless each probe is refused; with `exact` with the very status that is ours."""
    for probe in found:
        status = await asking(probe.method, probe.path, fields(made, probe.credential))
        wanted = {probe.ours} if exact else probe.statuses
        if status not in wanted:
            expected = " or ".join(map(str, sorted(wanted)))
            raise WrongAnswer(
                f"{name}: {probe.method} {probe.path}, {probe.name}: {status}, not {expected} (bench/JOB.md)"
            )


def some(made: Workload) -> list[Ask]:
    """An allowed request and a denied one."""
    return [next(ask for ask in made.asks if ask.allowed is allowed) for allowed in (True, False)]


def check_load(seen: Load, made: Workload, *, decides: bool) -> None:
    """Raises WrongAnswer unless the answers under load were right, as far as their number tells."""
    if seen.broken:
        raise WrongAnswer(f"{seen.broken} connections were refused or lost, or timed out, under load")
    share = made.denied / len(made.asks) if decides else 0.0
    # Within a round the denials are spread unevenly; a load may end anywhere in one.
    slack = made.denied + IN_FLIGHT if decides else 0
    if not math.isclose(seen.refused, seen.requests * share, abs_tol=slack):
        raise WrongAnswer(f"{seen.refused} of {seen.requests} requests were refused, not {share:.1%} of them")


def check_metrics(outcomes: Mapping[str, int], before: Mapping[str, int], dropped: int, seen: Load) -> None:
    """Raises WrongAnswer unless, by authz's own metrics, every request was decided, and none of them failed or
    is missing in the record.
    """
    new = {outcome: count - before.get(outcome, 0) for outcome, count in outcomes.items()}
    others = {outcome for outcome, count in new.items() if count} - {"allowed", "denied"}
    if sum(new.values()) < seen.requests or others:
        raise WrongAnswer(f"{seen.requests} requests were answered, but the metrics say {new}")
    if dropped:
        raise WrongAnswer(f"{dropped} records were dropped")
