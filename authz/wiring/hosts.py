"""The doors of a running service, by the configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from authz.config.load import Config
from authz.config.shape import Listener as ListenerShape
from authz.core.errors import Misconfigured
from authz.servers.admin import AdminApp
from authz.servers.aiohttp_connection import HttpLimits
from authz.servers.aiohttp_host import AiohttpHost
from authz.servers.forward_auth import ForwardAuth
from authz.servers.listeners import Listener, TcpListener, UnixListener
from authz.servers.trust import TrustedPeers
from authz.service import Service

if TYPE_CHECKING:
    from authz.servers.grpc_host import GrpcHost


class Host(Protocol):
    """A host of doors."""

    async def start(self) -> None:
        """Listens; raises Misconfigured where it cannot."""

    async def stop(self, grace: float) -> None:
        """Finishes what is in flight for at most `grace` seconds."""


def http_host(config: Config, service: Service) -> AiohttpHost | None:
    """The forward-auth doors, if there is a listener for them."""
    listeners = config.shape.listeners.http
    if not listeners:
        return None
    limits = config.shape.limits
    # A header field carries the token, its scheme and its name.
    field_bytes = max(16_384, limits.token_bytes + 1024)
    return AiohttpHost(
        app=ForwardAuth(service=service, trusted_hops=config.shape.trusted_hops),
        listeners=[_listener(listener) for listener in listeners],
        trusted=_trusted(config),
        limits=HttpLimits(connections=limits.connections, field_bytes=field_bytes),
    )


def admin_host(
    config: Config,
    *,
    checks: Callable[[], Mapping[str, tuple[bool, str]]],
    metrics: Callable[[str], tuple[bytes, str]],
) -> tuple[AdminApp, AiohttpHost | None]:
    """Liveness, readiness and metrics, on listeners of their own."""
    app = AdminApp(checks=checks, metrics=metrics)
    listeners = config.shape.listeners.admin
    if not listeners:
        return app, None
    # Whoever reaches the admin listener may read it: its address is its protection.
    anyone = TrustedPeers.parse(("0.0.0.0/0", "::/0"))
    host = AiohttpHost(app=app, listeners=[_listener(listener) for listener in listeners], trusted=anyone)
    return app, host


def grpc_hosts(config: Config, service: Service) -> tuple[GrpcHost, ...]:
    """One gRPC host a listener; grpcio is imported only where one is configured.

    Raises:
        Misconfigured: a gRPC listener, and no grpcio.
    """
    listeners = config.shape.listeners.grpc
    if not listeners:
        return ()
    try:
        from authz.servers.grpc_check import CheckSettings
        from authz.servers.grpc_host import GrpcHost, GrpcSettings
    except ImportError:
        message = "a gRPC listener needs the extra `grpc`: install `authz[grpc]`"
        raise Misconfigured((config.problem(("listeners", "grpc"), message),)) from None
    settings = GrpcSettings(
        checks=CheckSettings(
            trusted=_trusted(config),
            # Envoy with `use_remote_address` is itself one of those that add to X-Forwarded-For.
            trusted_hops=config.shape.trusted_hops + 1 if config.shape.trusted_hops else 0,
            on_failure=config.shape.responses.grpc_failure,
        )
    )
    return tuple(
        GrpcHost(
            service,
            settings,
            host=listener.address.host or "127.0.0.1",
            port=listener.address.port,
            path=listener.address.path or None,
            mode=int(listener.mode, 8),
            group=listener.group,
        )
        for listener in listeners
    )


def _trusted(config: Config) -> TrustedPeers:
    return TrustedPeers.parse(config.shape.trusted_proxies)


def _listener(shape: ListenerShape) -> Listener:
    address = shape.address
    if address.path:
        return UnixListener(path=address.path, mode=int(shape.mode, 8), group=shape.group)
    return TcpListener(host=address.host, port=address.port)
