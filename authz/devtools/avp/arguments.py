"""The arguments of `authz avp`."""

from __future__ import annotations

import argparse
from pathlib import Path

from authz.devtools.avp.remote import RATE

ALIAS = "policy-store-alias/"


def add_avp_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `authz avp` and of its four commands."""
    parser.description = (
        "Brings a folder of policies and a policy store of Amazon Verified Permissions to the same content: schema, "
        "policies, templates, links, identity source. Nothing is written before it was shown."
    )
    commands = parser.add_subparsers(required=True, metavar="plan|diff|push|pull", dest="avp_command")
    plan = commands.add_parser("plan", help="say what a push would do; exit code 1 where there is something to do")
    diff = commands.add_parser("diff", help="show how the texts differ; exit code 1 where they do")
    push = commands.add_parser("push", help="make the store say what the folder says")
    pull = commands.add_parser("pull", help="make the folder say what the store says")
    for command in (plan, diff, push, pull):
        command.add_argument("folder", type=Path, metavar="FOLDER", help="of the policies")
        _add_store(command, required=command is not push)
    for command in (plan, push):
        command.add_argument("--delete", action="store_true", help="delete what only the store has")
        command.add_argument("--ignore-quotas", action="store_true", help="warn only where a quota would be passed")
    plan.add_argument("--json", action="store_true", help="print the plan as JSON")
    push.add_argument("--yes", action="store_true", help="do it; otherwise it is shown, and asked for on a terminal")
    push.add_argument("--create", action="store_true", help="make a new policy store, and say its id")
    push.add_argument(
        "--alias", metavar="NAME", help="of the store; with --create: give it this alias, or take its store"
    )
    pull.add_argument("--yes", action="store_true", help="do it; otherwise it is shown, and asked for on a terminal")
    pull.add_argument("--force", action="store_true", help="also change and remove files that there are")
    pull.add_argument("--delete", action="store_true", help="take out of the folder what the store does not have")


def _add_store(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument("--store", required=required, metavar="ID", help=f"id of the policy store, or `{ALIAS}NAME`")
    parser.add_argument("--region", metavar="REGION", help="default: AWS_REGION, or the profile's")
    parser.add_argument("--profile", metavar="PROFILE", help="of ~/.aws/config; default: the environment's")
    parser.add_argument("--endpoint", metavar="URL", help="default: the region's")
    parser.add_argument(
        "--rate", type=_rate, default=RATE, metavar="N", help="calls in a second, at most; default: %(default)g"
    )


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if 0.1 <= rate <= 1000:
        return rate
    raise argparse.ArgumentTypeError("expected a number from 0.1 to 1000")
