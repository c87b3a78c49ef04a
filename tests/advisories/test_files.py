"""Files that an operator, a volume or a broken write leaves must never decide more than they say."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

import authz
from authz.core.errors import Misconfigured
from authz.stores.file import FileStore
from authz.stores.watch import fingerprint
from authz.wiring import assemble

FORBID = '@id("never") forbid(principal, action, resource);\n'


def problems(app):
    assembled = assemble(app.config)
    assert assembled.assembly is None
    return [str(problem) for problem in assembled.problems]


async def reason(az, app):
    request = authz.HttpRequest(method="GET", url="https://h/d/1", headers=app.headers(groups=["staff"]))
    return (await az.check(request)).reason.value


async def until(condition):
    async with asyncio.timeout(30):
        while not await condition():
            await asyncio.sleep(0.01)


DEEP = '[{"uid":{"type":"A::Doc","id":"x"},"attrs":{"open":' + "[" * 900 + "]" * 900 + '},"parents":[]}]'
LONG = '[{"uid":{"type":"A::Doc","id":"x"},"attrs":{"open":' + "9" * 5000 + '},"parents":[]}]'


@pytest.mark.parametrize(("entities", "told"), [(DEEP, "nested too deeply"), (LONG, "too many digits")])
def test_entities_that_python_cannot_read_are_a_problem_with_its_file(app, entities, told):
    app.write("policies/entities.json", entities)
    assert any("entities.json" in line and told in line for line in problems(app))


@pytest.mark.parametrize("text", ['"a\\0b"', '"a\\ud800b"'])
@pytest.mark.parametrize("key", ["deny_list: deny.yaml", "routes: routes.yaml", "jwks_file: jwks.json"])
def test_a_name_that_no_system_knows_is_a_problem_with_its_line(app, key, text):
    app.edit("authz.yaml", key, f"{key.split(':')[0]}: {text}")
    assert any("authz.yaml:" in line and "NUL" in line for line in problems(app))


async def test_a_reload_that_ends_unexpectedly_does_not_end_the_watch(app, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError

    async with authz.connect(app.config, sinks=()) as az:
        assert await reason(az, app) == "allowed"
        with monkeypatch.context() as patched:
            patched.setattr("authz.wiring.reloading.assemble", broken)
            assert not await az.reload()
            app.write("deny.yaml", "jti: [another]")
            await until(lambda: rejected_twice(az))
        app.write("deny.yaml", "subjects: [ann]")
        await until(lambda: is_reason(az, app, "token_revoked"))


async def rejected_twice(az):
    return az._runtime.freshness.reloads["rejected"] >= 2


async def is_reason(az, app, expected):
    return await reason(az, app) == expected


async def test_a_revoked_subject_stays_out_after_a_file_was_broken_for_a_while(app):
    async with authz.connect(app.config, sinks=()) as az:
        app.write("policies/entities.json", DEEP)
        await until(lambda: rejected_once(az))
        (app.folder / "policies/entities.json").unlink()
        app.write("deny.yaml", "subjects: [ann]")
        await until(lambda: is_reason(az, app, "token_revoked"))


async def rejected_once(az):
    return az._runtime.freshness.reloads["rejected"] >= 1


def test_policies_in_a_linked_folder_count(app):
    # As a Kubernetes volume shows each folder of a projected volume.
    (app.folder / "policies/..data/guard").mkdir(parents=True)
    (app.folder / "policies/..data/guard/f.cedar").write_text(FORBID)
    (app.folder / "policies/guard").symlink_to("..data/guard")
    (app.folder / "policies/again").symlink_to(".")  # and a link in a circle ends
    assembly = assemble(app.config).required()
    assert [policy.id for policy in assembly.compiled.snapshot.policies] == ["staff", "never"]
    before = fingerprint([], [app.folder / "policies"])
    (app.folder / "policies/..data/guard/f.cedar").write_text(FORBID + FORBID.replace("never", "ever"))
    assert fingerprint([], [app.folder / "policies"]) != before


def test_a_link_that_leads_nowhere_is_no_empty_folder(app):
    (app.folder / "policies/guard").symlink_to("not-mounted-yet")
    assert any("cannot be read" in line for line in problems(app))


def test_a_folder_that_cannot_be_listed_is_no_empty_folder(app, monkeypatch):
    (app.folder / "policies/guard").mkdir()
    (app.folder / "policies/guard/f.cedar").write_text(FORBID)
    listed = os.scandir

    def scandir(path):
        if str(path).endswith("guard"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr("os.scandir", scandir)
    assert any("cannot be read" in line for line in problems(app))


def test_a_pipe_among_the_policies_is_not_waited_for(app):
    os.mkfifo(app.folder / "policies/x.cedar")
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it is waited for"))
    signal.alarm(20)
    try:
        assert any("no regular file" in line for line in problems(app))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_a_file_that_was_cut_short_to_nothing_is_no_empty_policy_set(app):
    app.write("policies/guard.cedar", "")
    with pytest.raises(Misconfigured, match=r"`guard\.cedar` is empty"):
        FileStore(path=app.folder / "policies").read()
    app.write("policies/guard.cedar", "// nothing here yet\n")
    assert len(FileStore(path=app.folder / "policies").read().policies) == 1


def test_a_secret_without_end_is_not_read_without_end(app):
    app.edit("authz.yaml", "jwks_file: jwks.json", 'secret: "${file:/dev/zero}"')
    assert any("larger than" in line for line in problems(app))


def test_a_password_that_looks_like_an_alias_is_not_told(app):
    app.edit("authz.yaml", "jwks_file: jwks.json", "secret: *hunter2hunter2")
    told = problems(app)
    assert any("alias" in line for line in told)
    assert not any("hunter2" in line for line in told)


def test_a_configuration_without_end_is_not_read_without_end(app):
    (app.folder / "authz.yaml").unlink()
    (app.folder / "authz.yaml").symlink_to("/dev/zero")
    assert any("larger than" in line for line in problems(app))


def test_a_schema_that_is_a_pipe_is_not_waited_for(app):
    (app.folder / "policies/schema.cedarschema").unlink()
    os.mkfifo(app.folder / "policies/schema.cedarschema")
    assert any("no regular file" in line for line in problems(app))


async def test_a_file_that_only_a_rejected_state_names_is_watched_too(app):
    async with authz.connect(app.config, sinks=()) as az:
        (app.folder / "elsewhere").mkdir()
        app.write("elsewhere/routes.yaml", "[oops")
        app.edit("authz.yaml", "routes: routes.yaml", "routes: elsewhere/routes.yaml")
        await until(lambda: rejected_once(az))
        app.write("elsewhere/routes.yaml", (app.folder / "routes.yaml").read_text().replace("/d/", "/e/"))
        await until(lambda: is_reason(az, app, "no_route"))
