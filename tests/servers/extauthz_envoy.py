"""A real Envoy in front of doors that a test scripts: one listener for each way of asking."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.proxies.client import send
from tests.proxies.harness import Program, accepts, free_port, tool

TYPES = "type.googleapis.com/envoy.extensions"
HTTP2 = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": f"{TYPES}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
}
ACCESS_LOG = (
    "%PROTOCOL% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS%"
    " id=%DYNAMIC_METADATA(envoy.filters.http.ext_authz:decision_id)%"
    " reason=%DYNAMIC_METADATA(envoy.filters.http.ext_authz:reason)%"
    " policies=%DYNAMIC_METADATA(envoy.filters.http.ext_authz:policies)%\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """One listener: which door it asks, and how."""

    door: int | Path
    """A port of 127.0.0.1, or a Unix socket."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the ext_authz filter."""
    health: bool = False
    """Checks the door's health, and asks it only while it is serving."""
    tcp: bool = False
    """The network filter instead of the HTTP filter."""
    port: int = field(default_factory=free_port)


class ScriptedEnvoy(Program):
    """Envoy 1.40 with a configuration of its own, as little as it takes."""

    name = "envoy"

    def __init__(self, folder: Path, fronts: Mapping[str, Front], upstream: int) -> None:
        super().__init__(folder)
        self.fronts = fronts
        self.upstream = upstream
        self.admin = free_port()

    def command(self) -> Sequence[str]:
        file = self.folder / "envoy.json"
        file.write_text(json.dumps(self._config()))
        program = tool("lib/python3*/site-packages/envoy/_bin/envoy")
        options = ["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"]
        return [str(program), "-c", str(file), *options, "--file-flush-interval-msec", "50"]

    async def ready(self) -> bool:
        ports = [self.admin, *(front.port for front in self.fronts.values())]
        if not all([await accepts(port) for port in ports]):
            return False
        return (await send(self.admin, "/ready")).status == 200

    def _config(self) -> dict[str, Any]:
        return {
            "admin": {"address": _address(self.admin)},
            "static_resources": {
                "listeners": [_listener(name, front) for name, front in self.fronts.items()],
                "clusters": [_upstream(self.upstream), *(_door(name, front) for name, front in self.fronts.items())],
            },
        }


def _address(place: int | Path) -> dict[str, Any]:
    if isinstance(place, int):
        return {"socket_address": {"address": "127.0.0.1", "port_value": place}}
    return {"pipe": {"path": str(place)}}


def _upstream(port: int) -> dict[str, Any]:
    return {"name": "upstream", "connect_timeout": "5s", "load_assignment": _endpoint("upstream", port)}


def _endpoint(name: str, place: int | Path) -> dict[str, Any]:
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(place)}}]}]}


def _door(name: str, front: Front) -> dict[str, Any]:
    cluster: dict[str, Any] = {
        "name": name,
        "connect_timeout": "5s",
        "typed_extension_protocol_options": HTTP2,
        "load_assignment": _endpoint(name, front.door),
    }
    if front.health:
        cluster["common_lb_config"] = {"healthy_panic_threshold": {"value": 0}}
        cluster["health_checks"] = [
            {
                "timeout": "5s",
                "interval": "0.05s",
                "no_traffic_interval": "0.05s",
                "unhealthy_threshold": 1,
                "healthy_threshold": 1,
                "grpc_health_check": {"service_name": "envoy.service.auth.v3.Authorization"},
            }
        ]
    return cluster


def _listener(name: str, front: Front) -> dict[str, Any]:
    service = {"envoy_grpc": {"cluster_name": name}, "timeout": "3s"}
    filters = _tcp_filters(service) if front.tcp else [_connection_manager(service, front.options)]
    return {"name": name, "address": _address(front.port), "filter_chains": [{"filters": filters}]}


def _tcp_filters(service: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": "envoy.filters.network.ext_authz",
            "typed_config": {
                "@type": f"{TYPES}.filters.network.ext_authz.v3.ExtAuthz",
                "stat_prefix": "tcp",
                "grpc_service": service,
                "transport_api_version": "V3",
            },
        },
        {
            "name": "envoy.filters.network.tcp_proxy",
            "typed_config": {
                "@type": f"{TYPES}.filters.network.tcp_proxy.v3.TcpProxy",
                "stat_prefix": "tcp",
                "cluster": "upstream",
            },
        },
    ]


def _connection_manager(service: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    authorization = {
        "@type": f"{TYPES}.filters.http.ext_authz.v3.ExtAuthz",
        "transport_api_version": "V3",
        "grpc_service": service,
        **options,
    }
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "front",
            "access_log": [
                {
                    "name": "stdout",
                    "typed_config": {
                        "@type": f"{TYPES}.access_loggers.stream.v3.StdoutAccessLog",
                        "log_format": {"text_format_source": {"inline_string": ACCESS_LOG}},
                    },
                }
            ],
            "route_config": {
                "virtual_hosts": [
                    {
                        "name": "all",
                        "domains": ["*"],
                        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}],
                    }
                ]
            },
            "http_filters": [
                {"name": "envoy.filters.http.ext_authz", "typed_config": authorization},
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": f"{TYPES}.filters.http.router.v3.Router"},
                },
            ],
        },
    }
