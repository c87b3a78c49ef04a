"""The doors of a running service, by the configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from authz.config.listeners import Listener as ListenerShape
from authz.config.load import Config
from authz.core.errors import Misconfigured
from authz.servers.admin import AdminApp
from authz.servers.aiohttp_host import AiohttpHost
from authz.servers.forward_auth import ForwardAuth
from authz.servers.http_limits import HttpLimits
from authz.servers.listeners import Listener, TcpListener, UnixListener
from authz.servers.trust import TrustedPeers
from authz.service import Service
from authz.wiring.certificates import ListenerCertificates
from authz.wiring.together import Together

if TYPE_CHECKING:
    from authz.servers.asgi_host import AsgiHost
    from authz.servers.grpc_check import CheckSettings


class Host(Protocol):
    """A host of doors."""

    async def start(self) -> None:
        """Listens; raises Misconfigured where it cannot."""

    async def stop(self, grace: float) -> None:
        """Finishes what is in flight for at most `grace` seconds."""


class GrpcDoor(Host, Protocol):
    """A host with the gRPC door."""

    def set_serving(self, *, serving: bool) -> None:
        """What its health service says."""


def http_host(
    config: Config, service: Service, together: Together | None = None, *, certificates: ListenerCertificates
) -> Host | None:
    """The forward-auth doors, if there is a listener for them. `together`: with other workers.

    Raises:
        Misconfigured: the host that is to carry them is not installed.
    """
    listeners = config.shape.listeners.http
    if not listeners:
        return None
    make = _asgi(config, "http") if config.shape.hosts.http == "h2corn" else AiohttpHost
    return make(
        app=ForwardAuth(service=service, trusted_hops=config.shape.trusted_hops),
        listeners=[
            _listener(listener, certificates, together, ("http", place)) for place, listener in enumerate(listeners)
        ],
        trusted=_trusted(config),
        limits=_limits(config),
    )


def _asgi(config: Config, door: str) -> type[AsgiHost]:
    try:
        from authz.servers.asgi_host import AsgiHost
    except ImportError:
        message = f"`hosts.{door}: h2corn` needs the extra `fast`: install `authz[fast]`"
        raise Misconfigured((config.problem(("hosts", door), message),)) from None
    return AsgiHost


def _limits(config: Config) -> HttpLimits:
    limits = config.shape.limits
    # A header field carries the token, its scheme and its name.
    return HttpLimits(connections=limits.connections, field_bytes=max(16_384, limits.token_bytes + 1024))


def admin_host(
    config: Config,
    *,
    checks: Callable[[], Mapping[str, tuple[bool, str]]],
    metrics: Callable[[str], tuple[bytes, str]],
    certificates: ListenerCertificates,
) -> tuple[AdminApp, AiohttpHost | None]:
    """Liveness, readiness and metrics, on listeners of their own."""
    app = AdminApp(checks=checks, metrics=metrics)
    listeners = config.shape.listeners.admin
    if not listeners:
        return app, None
    # Whoever reaches the admin listener may read it: its address is its protection, or its `clients` are.
    anyone = TrustedPeers.parse(("0.0.0.0/0", "::/0"))
    found = [_listener(listener, certificates) for listener in listeners]
    host = AiohttpHost(app=app, listeners=found, trusted=anyone)
    return app, host


def grpc_hosts(
    config: Config, service: Service, together: Together | None = None, *, certificates: ListenerCertificates
) -> tuple[GrpcDoor, ...]:
    """The hosts of the gRPC listeners; what carries them is imported only where it is wanted.

    Args:
        config: what an operator wrote.
        service: who answers.
        together: with other workers.
        certificates: of the listeners.

    Raises:
        Misconfigured: the host that is to carry them is not installed; or a Unix socket that it cannot share with
            other workers.
    """
    if not config.shape.listeners.grpc:
        return ()
    if config.shape.hosts.grpc == "h2corn":
        return (_asgi_grpc(config, service, together, certificates),)
    return _grpcio(config, service, together, certificates)


def _asgi_grpc(
    config: Config, service: Service, together: Together | None, certificates: ListenerCertificates
) -> AsgiHost:
    make = _asgi(config, "grpc")
    from authz.servers.grpc_check import Checks

    return make(
        checks=Checks(service, _check_settings(config)),
        listeners=[
            _listener(listener, certificates, together, ("grpc", place))
            for place, listener in enumerate(config.shape.listeners.grpc)
        ],
        trusted=_trusted(config),
        limits=_limits(config),
    )


def _grpcio(
    config: Config, service: Service, together: Together | None, certificates: ListenerCertificates
) -> tuple[GrpcDoor, ...]:
    try:
        from authz.servers.grpc_host import GrpcHost, GrpcSettings
    except ImportError:
        message = "a gRPC listener needs the extra `grpc`: install `authz[grpc]`; or `authz[fast]` with `hosts.grpc`"
        raise Misconfigured((config.problem(("listeners", "grpc"), message),)) from None
    settings = GrpcSettings(
        trusted=_trusted(config),
        checks=_check_settings(config),
        max_connection_age=config.shape.limits.connection_age,
        reuse_port=together is not None,
    )
    return tuple(
        GrpcHost(
            service,
            settings,
            host=listener.address.host or "127.0.0.1",
            port=together.ports.get(("grpc", place), 0) if together is not None else listener.address.port,
            path=listener.address.path or None,
            mode=int(listener.mode, 8),
            group=listener.group,
            tls=certificates.of(listener),
        )
        for place, listener in enumerate(config.shape.listeners.grpc)
    )


def _check_settings(config: Config) -> CheckSettings:
    from authz.servers.grpc_check import CheckSettings

    return CheckSettings(
        # Envoy with `use_remote_address` is itself one of those that add to X-Forwarded-For.
        trusted_hops=config.shape.trusted_hops + 1 if config.shape.trusted_hops else 0,
        on_failure=config.shape.responses.grpc_failure,
    )


def _trusted(config: Config) -> TrustedPeers:
    return TrustedPeers.parse(config.shape.trusted_proxies)


def _listener(
    shape: ListenerShape,
    certificates: ListenerCertificates,
    together: Together | None = None,
    place: tuple[str, int] = ("admin", 0),
) -> Listener:
    address = shape.address
    if address.path:
        inherited = together.sockets.get(address.path) if together is not None else None
        return UnixListener(path=address.path, mode=int(shape.mode, 8), group=shape.group, inherited=inherited)
    port = together.ports[place] if together is not None else address.port
    tls = certificates.of(shape)
    return TcpListener(host=address.host, port=port, reuse_port=together is not None, tls=tls)
