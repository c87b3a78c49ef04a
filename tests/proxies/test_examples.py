"""The examples as files: complete, agreeing with each other, quiet when started."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.proxies.harness import EXAMPLES, Folder, free_port
from tests.proxies.proxies import Neighbours
from tests.proxies.sites import PROXIES

ENVOY_FILES = ("http-tcp.yaml", "http-unix.yaml", "grpc-tcp.yaml", "grpc-unix.yaml")
OTHERS = (
    "tcp.yaml",
    "mtls/transport-socket.yaml",
    "mtls/shown.yaml",
    "mtls/expected.yaml",
    "nginx/nginx.conf",
    "caddy/Caddyfile",
    "haproxy/haproxy.cfg",
)
FILES = (*ENVOY_FILES, "traefik/traefik.yaml", "traefik/dynamic.yaml", *OTHERS)
CONNECTION_MANAGER = "envoy.filters.network.http_connection_manager"


def text(name: str) -> str:
    return (EXAMPLES / name).read_text(encoding="utf-8")


def manager(name: str) -> dict[str, Any]:
    """The connection manager of an Envoy example."""
    (listener,) = yaml.safe_load(text(name))["static_resources"]["listeners"]
    (chain,) = listener["filter_chains"]
    (only,) = chain["filters"]
    assert only["name"] == CONNECTION_MANAGER
    return only["typed_config"]


def filters(name: str) -> dict[str, Any]:
    return {item["name"].rpartition(".")[2]: item["typed_config"] for item in manager(name)["http_filters"]}


def test_every_example_is_listed():
    found = {str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*") if path.is_file() and path.suffix != ".md"}
    found = {name for name in found if not name.startswith("gateway/")}  # those have a test of their own
    assert found == set(FILES)


def test_the_folder_is_no_python_package():
    # A package `envoy` beside the one of that name in site-packages would hide it.
    assert list(EXAMPLES.rglob("__init__.py")) == []


@pytest.mark.parametrize("name", FILES)
def test_listening_is_on_loopback(name: str):
    assert not re.search(r"(?<!\d)0\.0\.0\.0|\[::\]", text(name))


@pytest.mark.parametrize("name", ENVOY_FILES)
def test_envoys_settings_that_must_not_change(name: str):
    http = manager(name)
    assert http["use_remote_address"] is True
    assert http["normalize_path"] is True
    assert http["merge_slashes"] is True
    assert http["path_with_escaped_slashes_action"] == "REJECT_REQUEST"
    assert list(filters(name)) == ["ext_authz", "router"]
    check = filters(name)["ext_authz"]
    assert check["failure_mode_allow"] is False
    assert check["status_on_error"] == {"code": "ServiceUnavailable"}
    assert check["validate_mutations"] is True
    service = check.get("grpc_service") or check["http_service"]["server_uri"]
    assert float(service["timeout"].removesuffix("s")) > 1  # authz's own deadline


def test_the_four_envoy_examples_differ_in_the_question_only():
    first, *others = (manager(name) for name in ENVOY_FILES)
    for other in others:
        for key in first.keys() - {"http_filters", "access_log"}:
            assert other[key] == first[key], key
        assert other.keys() == first.keys()


@pytest.mark.parametrize("door", ["http", "grpc"])
def test_tcp_and_unix_differ_in_the_address_only(door: str):
    tcp, unix = (yaml.safe_load(text(f"{door}-{transport}.yaml")) for transport in ("tcp", "unix"))
    assert manager(f"{door}-tcp.yaml") == manager(f"{door}-unix.yaml")
    tcp_authz, unix_authz = (document["static_resources"]["clusters"][0] for document in (tcp, unix))
    assert tcp_authz.pop("load_assignment") != unix_authz.pop("load_assignment")
    assert tcp_authz == unix_authz


@pytest.mark.proxy
@pytest.mark.parametrize("example", PROXIES)
async def test_it_starts_and_ends_without_a_warning(example: str):
    with Folder() as folder:
        authz = folder / "authz.sock" if example.endswith("unix") else free_port()
        async with PROXIES[example](folder, Neighbours(authz=authz, service=free_port())) as proxy:
            pass
        assert not re.search(r"deprecat|warn|\bWRN\b|\berror\b|critical", known(proxy.log), re.IGNORECASE)


def known(log: str) -> str:
    """The log without the warnings that say what the example means to do, and that it is told to end."""
    expected = ("caught ENVOY_SIGTERM", "admin endpoint disabled", "HTTP/2 skipped", "HTTP/3 skipped", "SIGTERM")
    return "\n".join(line for line in log.splitlines() if not any(phrase in line for phrase in expected))
