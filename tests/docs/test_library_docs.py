"""The examples in Python run, and print what the page says."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp.test_utils import TestClient, TestServer
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import authz
from authz.devtools.scaffold import write_start
from tests.docs.pages import FENCE, OWN_TEST, PAGES, blocks, text_of


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A token of alice, for the application that `authz init` writes, in the current folder."""
    write_start(tmp_path)
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "login.pem").write_bytes(pem)
    file = tmp_path / "authz.yaml"
    lines = file.read_text(encoding="utf-8").replace("    #jwks_file: keys/login.json", "    jwks_file: login.pem")
    file.write_text(lines.replace("output: stdout", "output: none"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    now = int(time.time())
    claims = {"iss": "https://login.example.com", "aud": "app-api", "sub": "alice", "iat": now, "exp": now + 600}
    return jwt.encode(claims, key, algorithm="ES256")


def snippets(page: str) -> list[tuple[str, str | None]]:
    """Python blocks, each with the output that is told next."""
    found: list[tuple[str, str | None]] = []
    for match in FENCE.finditer(text_of(page)):
        if match[1] == "python":
            found.append((match[2], None))
        elif match[1] == "text" and found:
            found[-1] = (found[-1][0], match[2])
    return found


def run(text: str, **given: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "example", **given}
    exec(compile(text, "example", "exec", dont_inherit=True), names)
    return names


WITH_MAIN = [pair for page in ("docs/library.md", "README.md") for pair in snippets(page) if "def main" in pair[0]]


@pytest.mark.parametrize(("text", "output"), WITH_MAIN)
async def test_an_example_in_python_runs(
    token: str, capsys: pytest.CaptureFixture[str], text: str, output: str | None
) -> None:
    await run(text, token=token)["main"]()
    printed = capsys.readouterr().out
    assert printed
    assert output is None or printed == output


async def test_the_example_of_a_web_application_asks_for_each_request(token: str) -> None:
    [text] = [text for text, _ in snippets("docs/library.md") if "def application" in text]
    async with TestClient(TestServer(run(text)["application"]())) as client:
        allowed = await client.get("/notes/groceries", headers={"authorization": f"Bearer {token}"})
        assert (allowed.status, await allowed.text()) == (200, "hello, alice")
        denied = await client.get("/notes/groceries")
        assert denied.status == 401
        assert denied.headers["www-authenticate"].startswith("Bearer ")
        assert (await client.get("/notes/%2e%2e", headers={"authorization": f"Bearer {token}"})).status in {400, 403}


def test_every_example_in_python_is_run() -> None:
    pages = [page for page in PAGES if page.name not in OWN_TEST]
    assert len(blocks("python", *pages)) == len(WITH_MAIN) + 2  # the last: test_browsers_docs.py


def test_what_the_page_calls_public_is() -> None:
    page = text_of("docs/library.md")
    for name in re.findall(r"`?authz\.([A-Z]\w+|connect)\b", page):
        assert name in authz.__all__, name
