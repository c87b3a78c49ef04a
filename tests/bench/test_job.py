"""The job that peers are configured for: its page, its tokens, its files and its key set."""

from __future__ import annotations

import dataclasses
import json
import re
import stat
from collections.abc import Sequence
from typing import Any

import aiohttp
import jwt
import pytest
from aiohttp import web

from bench import __main__ as command
from bench import answers, job
from bench.tokens import ALGORITHM, AUDIENCE, ISSUER, KEY_ID, Keys
from bench.workload import POLICIES, Description, Workload, workload
from tests.proxies.harness import free_port


@pytest.fixture(scope="module")
def small() -> Workload:
    return workload(dataclasses.replace(Description.read(), requests=60))


@pytest.fixture(scope="module")
def page() -> str:
    return job.DOCUMENT.read_text(encoding="utf-8")


def table(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    section = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def plain(cells: Sequence[str]) -> list[str]:
    return [cell.strip("`") for cell in cells]


# --- JOB.md ------------------------------------------------------------------------------------------------


def test_the_page_has_the_figures_and_names_of_the_whole_job(page):
    stated = {name: value.strip("`") for name, value in table(page, "Figures and names")}
    assert stated == job.facts(workload())


def test_the_page_lists_every_request_that_must_be_refused_with_its_statuses(page, small):
    stated = {cells[0].strip("`"): cells[2] for cells in table(page, "What must be answered")}
    wanted = {probe.name: ", ".join(map(str, sorted(probe.statuses))) for probe in answers.probes(small)}
    assert stated == wanted


def test_the_page_describes_every_policy(page):
    text = (POLICIES / "bench.cedar").read_text(encoding="utf-8")
    effects = re.findall(r'@id\("([^"]+)"\)(?:\n@\w+\([^\n]*\))*\n(permit|forbid)', text)
    assert len(effects) == 10
    assert [(cells[0].strip("`"), cells[1]) for cells in table(page, "What is allowed")] == effects


def test_the_page_describes_every_kind_of_request(page, small):
    stated = {tuple(plain(cells)[0].split(" ")) for cells in table(page, "What is asked")}
    asked = {(ask.method, re.sub(r"doc-\d{4}", "{id}", ask.path)) for ask in workload().asks}
    assert stated == asked


def test_the_page_names_every_file_and_every_claim(page, small, tmp_path):
    job.write_files(tmp_path, small)
    stated = {cells[0].strip("`/") for cells in table(page, "The files")}
    assert stated == {file.name for file in tmp_path.iterdir()}
    claims = set(jwt.decode(small.tokens[0], options={"verify_signature": False}))
    assert claims <= set(re.findall(r"`([a-z_]+)`", page.partition("## What Envoy asks")[2]))


# --- tokens ------------------------------------------------------------------------------------------------


def test_a_kept_key_is_the_same_each_time_and_its_owners_alone(tmp_path):
    file = tmp_path / "below" / "key.pem"
    first = Keys.kept(file)
    assert Keys.kept(file).jwks == first.jwks
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [one.name for one in file.parent.iterdir()] == ["key.pem"]
    assert Keys.new().jwks != first.jwks


def test_a_good_token_verifies_and_no_bad_one_does(small):
    key = jwt.PyJWKSet.from_json(small.jwks)[KEY_ID]

    def verify(token: str) -> None:
        jwt.decode(token, key, algorithms=[ALGORITHM], audience=AUDIENCE, issuer=ISSUER)

    for token in small.tokens:
        verify(token)
    for name, token in small.bad_tokens.items():
        with pytest.raises(jwt.InvalidTokenError):
            verify(token)
        assert token not in small.tokens, name


def test_each_bad_token_is_bad_in_its_own_way(small):
    causes = {
        "expired": jwt.ExpiredSignatureError,
        "not-yet-valid": jwt.ImmatureSignatureError,
        "other-issuer": jwt.InvalidIssuerError,
        "other-audience": jwt.InvalidAudienceError,
        "other-key": jwt.InvalidSignatureError,
        "changed-claims": jwt.InvalidSignatureError,
        "unsigned": jwt.InvalidAlgorithmError,
        "public-key-as-secret": jwt.InvalidAlgorithmError,
        "no-token": jwt.DecodeError,
    }
    assert set(causes) == set(small.bad_tokens)
    key = jwt.PyJWKSet.from_json(small.jwks)[KEY_ID]
    for name, cause in causes.items():
        with pytest.raises(cause):
            jwt.decode(small.bad_tokens[name], key.key, algorithms=[ALGORITHM], audience=AUDIENCE, issuer=ISSUER)


def test_what_is_probed_is_allowed_with_the_users_own_token(small):
    found = {probe.name: probe for probe in answers.probes(small)}
    allowed = {(ask.method, ask.path, ask.user) for ask in small.asks if ask.allowed}
    assert ("GET", found["expired"].path, small.probed.user) in allowed
    assert found["other-path"].credential == f"Bearer {small.tokens[small.probed.user]}"
    assert found["no-credential"].credential is None
    assert not any("ey" + "J" in repr(probe) for probe in found.values())


# --- files and key set -------------------------------------------------------------------------------------


def test_the_files_say_what_must_be_answered(small, tmp_path):
    job.write_files(tmp_path, small)
    job.write_files(tmp_path, small)  # once more, into what is there
    said = json.loads((tmp_path / "answers.json").read_text(encoding="utf-8"))
    tokens = json.loads((tmp_path / "tokens.json").read_text(encoding="utf-8"))
    assert len(said["round"]) == 60
    assert sum(one["status"] == [403] for one in said["round"]) == small.denied
    assert {one["token"] for one in said["round"]} <= set(tokens["good"])
    assert {one["name"] for one in said["refused"]} >= set(tokens["bad"])
    assert (tmp_path / "jwks.json").read_text(encoding="utf-8") == small.jwks
    assert json.loads((tmp_path / "policies/entities.json").read_text(encoding="utf-8")) == small.entities
    assert stat.S_IMODE((tmp_path / "tokens.json").stat().st_mode) == 0o600


def test_the_command_writes_them_and_ends(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(job, "KEY_FILE", tmp_path / "key.pem")
    monkeypatch.setenv("AUTHZ_TOOLS", str(tmp_path))  # it needs no proxy
    assert command.main(["--job-files", str(tmp_path / "job")]) == 0
    assert (tmp_path / "job" / "JOB.md").exists()
    assert "python -m bench keys" in capsys.readouterr().out
    (tmp_path / "file").touch()
    assert command.main(["--job-files", str(tmp_path / "file")]) == 2
    assert "cannot be written" in capsys.readouterr().err


async def fetched(url: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return await answer.json()


async def test_the_key_set_is_served_where_the_page_says(small):
    port = free_port()
    async with job.serving_keys(small, port):
        assert await fetched(job.jwks_url(port)) == json.loads(small.jwks)
        described = await fetched(f"http://127.0.0.1:{port}{job.METADATA_PATH}")
    assert described["issuer"] == ISSUER
    assert described["jwks_uri"] == job.jwks_url(port)


async def test_another_bench_that_serves_the_same_keys_is_no_obstacle(small):
    port = free_port()
    async with job.serving_keys(small, port), job.serving_keys(small, port):
        assert await fetched(job.jwks_url(port)) == json.loads(small.jwks)


async def test_a_port_that_serves_something_else_is_an_error(small):
    runner = web.AppRunner(web.Application())
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    with pytest.raises(job.PortTaken, match="--jwks-port"):
        async with job.serving_keys(small, port):
            pass
    await runner.cleanup()
