"""`authz avp-local`: runs the emulator of Verified Permissions until a signal ends it."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import re
import signal
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from authz.core.errors import Misconfigured, Problem
from authz.emulator.server import serving
from authz.emulator.services import EmulatorSettings, Limits
from authz.emulator.state_file import UnusableState

_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<host>[A-Za-z0-9.\-]+)):(?P<port>[0-9]{1,5})", re.ASCII)
_LIMITS = tuple(field.name for field in fields(Limits) if field.name != "identity_sources")


def add_avp_local_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `authz avp-local`."""
    parser.description = (
        "A local endpoint of Amazon Verified Permissions, for development and tests: all operations, no account. "
        "Whoever reaches it may do anything: keep it on the loopback interface."
    )
    parser.add_argument("--listen", metavar="ADDRESS", default="127.0.0.1:8181", help="default: %(default)s")
    parser.add_argument(
        "--state", type=Path, metavar="FILE", help="keep the state in an SQLite file; default: in memory"
    )
    parser.add_argument(
        "--quota", choices=("off", "real"), default="off", help="real: refuse more calls a second than are published"
    )
    parser.add_argument(
        "--limit",
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help=f"another quota of resources; NAME is one of {', '.join(_LIMITS)}",
    )
    parser.add_argument(
        "--keys", action="append", default=[], metavar="ISSUER=PLACE", help="where an issuer's keys are: URL or file"
    )
    parser.add_argument(
        "--discovery", action="store_true", help="fetch an issuer's discovery document when its identity source is made"
    )
    parser.add_argument("--http-issuers", action="store_true", help="take issuers of tests, without TLS")
    parser.add_argument(
        "--strict-requests", action="store_true", help="check authorization requests against the schema"
    )
    parser.add_argument(
        "--no-control", action="store_true", help="do not answer /_emulator/…, where faults are switched"
    )


def main_avp_local(arguments: argparse.Namespace) -> int:
    """`authz avp-local`: serves until SIGTERM or SIGINT, gives the exit code.

    Raises:
        Misconfigured: an argument is not of its form, the address is taken, or the state's file is none of ours.
    """
    try:
        host, port = _address(arguments.listen)
        settings = EmulatorSettings(
            host=host,
            port=port,
            state=arguments.state,
            quota=arguments.quota,
            control=not arguments.no_control,
            keys=_pairs(arguments.keys, "--keys", "ISSUER=PLACE"),
            discovery=arguments.discovery,
            http_issuers=arguments.http_issuers,
            strict_requests=arguments.strict_requests,
            limits=_limits(arguments.limit),
        )
        asyncio.run(_serve(settings))
    except (ValueError, UnusableState) as error:
        raise Misconfigured((Problem(message=str(error)),)) from None
    except OSError as error:
        message = f"{arguments.listen}: cannot be listened on ({error.strerror or error})"
        raise Misconfigured((Problem(message=message),)) from None
    return 0


async def _serve(settings: EmulatorSettings) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    async with serving(settings) as running:
        if not _is_loopback(settings.host):
            print("warning: anybody who reaches this address may read and change everything", file=sys.stderr)
        print(f"Verified Permissions, emulated: {running.url}")
        print(f"export AWS_ENDPOINT_URL_VERIFIEDPERMISSIONS={running.url}")
        # Some SDKs read the one, some the other.
        print(f"export AWS_REGION={settings.region} AWS_DEFAULT_REGION={settings.region}")
        print("export AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local", flush=True)
        await ended.wait()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _address(text: str) -> tuple[str, int]:
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > 65_535:
        raise ValueError(f"`--listen`: expected HOST:PORT such as 127.0.0.1:8181, found `{text}`")
    return match["six"] or match["host"], int(match["port"])


def _pairs(texts: list[str], argument: str, form: str) -> Mapping[str, str]:
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise ValueError(f"`{argument}`: expected {form}, found `{text}`")
        found[name] = value
    return found


def _limits(texts: list[str]) -> Limits:
    given = _pairs(texts, "--limit", "NAME=NUMBER")
    unknown = [name for name in given if name not in _LIMITS]
    if unknown:
        raise ValueError(f"`--limit`: no quota is named `{unknown[0]}`; there are {', '.join(_LIMITS)}")
    wrong = [value for value in given.values() if not re.fullmatch(r"[0-9]{1,12}", value, re.ASCII)]
    if wrong:
        raise ValueError(f"`--limit`: expected a number, found `{wrong[0]}`")
    return Limits(**{name: int(value) for name, value in given.items()})
