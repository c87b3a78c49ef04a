"""The job as files and over HTTP, so that a peer can be configured for it before it is measured. See JOB.md."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web

from bench.answers import probes
from bench.tokens import ALGORITHM, AUDIENCE, ISSUER, KEY_ID, TOKEN_TYPE
from bench.workload import HERE, WORK, Workload, write_into

KEY_FILE = WORK / "key.pem"
"""The issuer's key, the same in each run on this machine."""
JWKS_PORT = 9299
JWKS_PATH = "/jwks.json"
METADATA_PATH = "/.well-known/openid-configuration"
HOST = "127.0.0.1"
DOCUMENT = HERE / "JOB.md"


class PortTaken(Exception):
    """Something else listens where the key set is to be served."""


def jwks_url(port: int) -> str:
    return f"http://{HOST}:{port}{JWKS_PATH}"


def facts(made: Workload) -> Mapping[str, str]:
    """The figures and names of the job, as JOB.md has them."""
    described = made.description
    return {
        "issuer (`iss`)": ISSUER,
        "audience (`aud`)": AUDIENCE,
        "signature algorithm": ALGORITHM,
        "key id (`kid`)": KEY_ID,
        "token type (`typ`)": TOKEN_TYPE,
        "key set": jwks_url(JWKS_PORT),
        "host of the requests": described.host,
        "users, one token each": str(described.users),
        "documents": str(described.documents),
        "requests in a round": str(described.requests),
        "of these denied": str(made.denied),
    }


def write_files(folder: Path, made: Workload) -> None:
    """Writes everything that a peer's configuration can be made of, and JOB.md beside it.

    `tokens.json` holds live tokens of this machine's own issuer: nobody else believes them.
    """
    write_into(folder, made)
    shutil.copy(DOCUMENT, folder / DOCUMENT.name)
    named = {user.name: token for user, token in zip(made.users, made.tokens, strict=True)}
    _write(folder / "tokens.json", {"good": named, "bad": dict(made.bad_tokens)})
    round_ = [
        {
            "method": ask.method,
            "path": ask.path,
            "token": made.users[ask.user].name,
            "status": [200 if ask.allowed else 403],
        }
        for ask in made.asks
    ]
    others = [
        {
            "name": probe.name,
            "method": probe.method,
            "path": probe.path,
            "authorization": probe.credential,
            "status": sorted(probe.statuses),
        }
        for probe in probes(made)
    ]
    _write(folder / "answers.json", {"host": made.description.host, "round": round_, "refused": others})


def _write(file: Path, value: object) -> None:
    file.touch(mode=0o600)
    file.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


@asynccontextmanager
async def serving_keys(made: Workload, port: int) -> AsyncIterator[None]:
    """Serves the key set while the block runs. Does nothing where another bench already serves the same.

    Raises:
        PortTaken: the port is another program's.
    """
    metadata = {"issuer": ISSUER, "jwks_uri": jwks_url(port), "id_token_signing_alg_values_supported": [ALGORITHM]}
    app = web.Application()
    app.router.add_get(JWKS_PATH, _constant(made.jwks))
    app.router.add_get(METADATA_PATH, _constant(json.dumps(metadata)))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, HOST, port).start()
        except OSError:
            if await _fetched(port) != json.loads(made.jwks):
                raise PortTaken(f"port {port} of {HOST} is in use; free it, or choose another: --jwks-port") from None
        yield
    finally:
        await runner.cleanup()


def _constant(text: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(text=text, content_type="application/json")

    return handler


async def _fetched(port: int) -> object:
    try:
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(jwks_url(port)) as answer:
            return await answer.json()
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return None
