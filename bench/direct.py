"""Without a proxy: what TLS costs on connections that are kept, and what a second worker process brings.

The load generator asks the HTTP door the questions that Envoy would ask. It shares the cores with what it loads, so
its own processor time stands beside the figures.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bench.answers import Fields, check_load, check_metrics, check_round, some
from bench.behind_envoy import WARM, Say
from bench.in_process import questions
from bench.load import Generator, Load
from bench.procfs import cpu_seconds
from bench.programs import AuthzHttp, Host
from bench.rows import Row, at_least, at_most, row
from bench.workload import CERTIFICATE, KEY, Workload
from tests.proxies.client import send
from tests.proxies.harness import Folder

TLS = "tls"
WORKERS = "workers"
CARRIERS: Mapping[Host, str] = {"aiohttp": "authz http", "h2corn": "authz http on h2corn"}
MANY = 256
"""Connections for the workers: the kernel deals them out unevenly, but leaves none of the workers idle."""
MOST_RUNS = 3
"""Enough for ratios of two figures taken one after the other; more would only take time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Direct:
    """One load of a door."""

    cpu: float
    """Microseconds of processor time per request, of all of authz's processes."""
    throughput: float
    """Requests a second."""
    generator: float
    """Cores that the load generator took."""


Pair = tuple[Direct, Direct]
Runs = Sequence[Mapping[str, Pair]]
"""In each run by host: without and with."""


def requests(made: Workload) -> list[bytes]:
    """The round as Envoy asks it of the HTTP door."""
    found = []
    for method, target, fields in questions(made):
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields)]
        found.append("\r\n".join((*lines, "", "")).encode("ascii"))
    return found


async def measure_tls(made: Workload, work: Path, *, runs: int, duration: float, say: Say) -> Runs:
    """One process with a plain listener and one with TLS; each is loaded, in turn."""
    certify(work)
    found = []
    with Folder() as folder:
        load = Generator(folder, requests(made))
        for number in range(min(runs, MOST_RUNS)):
            pairs = {}
            for carrier, name in CARRIERS.items():
                pairs[name] = await _tls_pair(made, work, load, carrier, duration, first=number % 2)
                say(f"  {name:20} plain, TLS: {_told(pairs[name])}")
            found.append(pairs)
    return found


async def _tls_pair(made: Workload, work: Path, load: Generator, carrier: Host, duration: float, *, first: int) -> Pair:
    with Folder() as mine:
        async with AuthzHttp(mine, work, host=carrier, tls=True) as server:
            await _check(server, made)
            seen = {}
            for tls in (bool(first), not first):
                seen[tls] = await _loaded(server, made, load, duration, tls=tls)
            return seen[False], seen[True]


async def measure_workers(made: Workload, work: Path, *, runs: int, duration: float, say: Say) -> Runs:
    """One worker, then two."""
    found = []
    with Folder() as folder:
        load = Generator(folder, requests(made), connections=MANY)
        for _ in range(min(runs, MOST_RUNS)):
            pairs = {}
            for carrier, name in CARRIERS.items():
                one, two = [await _worked(made, work, load, carrier, duration, workers=count) for count in (1, 2)]
                pairs[name] = one, two
                say(f"  {name:20} one, two workers: {_told(pairs[name])}")
            found.append(pairs)
    return found


async def _worked(
    made: Workload, work: Path, load: Generator, carrier: Host, duration: float, *, workers: int
) -> Direct:
    with Folder() as mine:
        async with AuthzHttp(mine, work, host=carrier, workers=workers) as server:
            await _check(server, made)
            return await _loaded(server, made, load, duration, tls=False)


def _told(pair: Pair) -> str:
    return "  ".join(f"{one.throughput:8,.0f}/s {one.cpu:6.1f} µs" for one in pair)


async def _check(server: AuthzHttp, made: Workload) -> None:
    async def status(method: str, path: str, fields: Fields) -> int:
        return (await send(server.port, f"/envoy{path}", method=method, headers=fields)).status

    await check_round(status, server.name, made, some(made), decides=True)


async def _loaded(server: AuthzHttp, made: Workload, load: Generator, duration: float, *, tls: bool) -> Direct:
    port = server.tls_port if tls and server.tls_port is not None else server.port
    await load.run(port, WARM, tls=tls)
    evaluated = (await server.counted()).outcomes
    before = cpu_seconds(server.pid)
    seen: Load = await load.run(port, duration, tls=tls)
    cpu = cpu_seconds(server.pid) - before
    check_load(seen, made, decides=True)
    now = await server.counted()
    check_metrics(now.outcomes, evaluated, now.dropped, seen)
    return Direct(cpu=cpu / seen.requests * 1e6, throughput=seen.throughput, generator=seen.spent / seen.seconds)


# --- rows --------------------------------------------------------------------------------------------------


def tls_rows(runs: Runs) -> list[Row]:
    """Processor time is judged; throughput stands beside it."""
    found = []
    for name in runs[0]:
        plain, behind = _of(runs, name, "cpu")
        found.append(
            row(
                TLS, f"{name}: CPU per request with TLS", "µs", behind, against=plain, name="without", bar=at_most(1.15)
            )
        )
        plain, behind = _of(runs, name, "throughput")
        found.append(row(TLS, f"{name}: throughput with TLS", "req/s", behind, against=plain, name="without"))
    return found


def worker_rows(runs: Runs) -> list[Row]:
    """Throughput is judged; beside it processor time, and what the generator took of the cores they share."""
    found = []
    for name in runs[0]:
        for label, what, unit, bar in (
            ("throughput", "throughput", "req/s", at_least(1.7)),
            ("CPU per request", "cpu", "µs", None),
            ("cores that the load generator took", "generator", "cores", None),
        ):
            one, two = _of(runs, name, what)
            found.append(row(WORKERS, f"{name}, two workers: {label}", unit, two, against=one, name="one", bar=bar))
    return found


def _of(runs: Runs, name: str, what: str) -> tuple[list[float], list[float]]:
    without, behind = zip(*(run[name] for run in runs), strict=True)
    return [getattr(one, what) for one in without], [getattr(one, what) for one in behind]


# --- the certificate ---------------------------------------------------------------------------------------


def certify(work: Path) -> None:
    """Writes a certificate for this machine, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    form, nothing = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (work / CERTIFICATE).write_bytes(made.public_bytes(pem))
    (work / KEY).touch(mode=0o600)
    (work / KEY).write_bytes(key.private_bytes(pem, form, nothing))
