"""The set-up's promises: pinned and hashed locks without an address, make targets, import rules that bite."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
TARGETS = (
    "help demo demo-check test test-core equality check lint types imports format bench wheel lock clean".split()  # noqa: SIM905
)


def pins(lock: Path) -> dict[str, str]:
    """Normalised name → the rest of its entry (version, marker, hashes) of each requirement in a lock."""
    joined = lock.read_text().replace("\\\n", " ")
    lines = [line for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return dict(line.split("==", 1) for line in lines)


def names(requirements: list[str]) -> set[str]:
    found = (re.match(r"[A-Za-z0-9._-]+", requirement) for requirement in requirements)
    return {re.sub(r"[-_.]+", "-", match[0]).lower() for match in found if match}


def run(*command: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, check=False)


# --- locks ------------------------------------------------------------------------------------------------


def test_there_is_a_lock_for_each_environment() -> None:
    assert {lock.stem for lock in LOCKS} == {"build", "demo", "dev", "lock", "peers", "tools"}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_names_no_address(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    assert not re.search(r"^\s*-", re.sub(r"^\s+--hash=.*$", "", text, flags=re.MULTILINE), re.MULTILINE)
    assert not re.search(r"\b[a-z0-9-]+\.(org|com|net|io|dev)\b", text)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_every_requirement_of_a_lock_is_pinned_and_hashed(lock: Path) -> None:
    for name, entry in pins(lock).items():
        assert re.fullmatch(r"[a-z0-9-]+", name), name
        assert re.match(r"\d[\w.]* ", entry), name
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), name


def test_locks_agree_on_what_they_share() -> None:
    dev, tools = pins(ROOT / "requirements/dev.txt"), pins(ROOT / "requirements/tools.txt")
    for lock in ("build", "demo"):
        for name, entry in pins(ROOT / "requirements" / f"{lock}.txt").items():
            assert entry.split()[0] == {**tools, **dev}[name].split()[0], name


@pytest.mark.parametrize(("lock", "extras"), [("dev", ["grpc", "fast"]), ("demo", ["grpc", "demo"])])
def test_a_lock_holds_the_product_and_its_extras(lock: str, extras: list[str]) -> None:
    project = PROJECT["project"]
    wanted = names(project["dependencies"])
    for extra in extras:
        wanted |= names(project["optional-dependencies"][extra])
    assert wanted <= pins(ROOT / "requirements" / f"{lock}.txt").keys()


def test_every_extra_is_in_a_lock() -> None:
    locked = set().union(*(pins(lock) for lock in LOCKS))
    for extra, requirements in PROJECT["project"]["optional-dependencies"].items():
        assert names(requirements) <= locked, extra


@pytest.mark.parametrize("source", sorted((ROOT / "requirements").glob("*.in")), ids=lambda path: path.stem)
def test_a_lock_holds_all_that_its_source_asks_for(source: Path) -> None:
    asked = [line for line in source.read_text().splitlines() if line and line[0] not in "#-"]
    assert names(asked) <= pins(source.with_suffix(".txt")).keys()


def test_the_build_back_ends_are_locked() -> None:
    assert names(PROJECT["build-system"]["requires"]) <= pins(ROOT / "requirements/build.txt").keys()


# --- make, continuous integration, the README -------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS)
def test_make_has_the_target(target: str) -> None:
    done = run("make", "-n", target)
    assert done.returncode == 0, done.stderr


def test_make_says_what_it_can_do() -> None:
    listed = run("make").stdout
    assert all(f"make {target} " in listed for target in TARGETS if target != "test-core")


def test_make_refuses_an_interpreter_that_is_too_old(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.10.1 && exit 0\nexit 1\n')
    old.chmod(0o755)
    for name in ("Makefile", "requirements"):
        (tmp_path / name).symlink_to(ROOT / name)
    done = run("make", f"PYTHON={old}", "demo", cwd=tmp_path)
    assert done.returncode != 0
    assert "Python 3.11 or newer" in done.stderr
    assert "Python 3.10.1" in done.stderr


def test_continuous_integration_runs_what_a_developer_runs() -> None:
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    assert "for target in check demo-check test;" in script.read_text()


def test_the_readme_opens_with_the_two_commands() -> None:
    screen = "\n".join((ROOT / "README.md").read_text().splitlines()[:40])
    assert "make demo" in screen
    assert "make test" in screen


# --- imports ----------------------------------------------------------------------------------------------


def test_core_imports_the_standard_library_and_itself_only() -> None:
    for path in sorted((ROOT / "authz/core").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            for module in imported(node):
                known = module.split(".")[0] in sys.stdlib_module_names
                assert known or module.startswith("authz.core"), f"{path.name} imports {module}"


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "absolute imports only"
        if node.module == "authz":
            return [f"authz.{alias.name}" for alias in node.names]
        return [str(node.module)]
    return []


@pytest.mark.parametrize(
    ("path", "line", "broken"),
    [
        ("core/model.py", "import asyncio", "authz.core is not allowed to import asyncio"),
        ("core/model.py", "from authz import wiring", "authz.core is not allowed to import authz.wiring"),
        ("pdp/stray.py", "import authz.authn", "authz.pdp is not allowed to import authz.authn"),
        ("servers/stray.py", "import authz.config", "authz.servers is not allowed to import authz.config"),
        ("servers/stray.py", "import authz.servers.extauthz_pb2", "stray -> authz.servers.extauthz_pb2"),
        ("servers/stray.py", "import google.protobuf", "authz is not allowed to import google"),
        ("utils.py", "x = 1", "authz.utils"),
    ],
)
def test_a_stray_import_breaks_a_contract(tmp_path: Path, path: str, line: str, broken: str) -> None:
    shutil.copytree(ROOT / "authz", tmp_path / "authz", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "authz" / path).open("a") as module:
        module.write(f"\n{line}\n")
    done = run(Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache", cwd=tmp_path)
    assert done.returncode != 0
    assert broken in done.stdout
