"""TLS of the gRPC listener: gRPC core's own, with the certificate of the moment for each connection."""

from __future__ import annotations

import grpc
import grpc.aio

from authz.servers.tls import Certificates, TlsMaterial

HANDSHAKE_TIMEOUT = 10.0
"""Seconds. gRPC's default is two minutes, in which whoever sends nothing holds a connection."""


def credentials(certificates: Certificates) -> grpc.ServerCredentials:
    """Credentials that follow renewals. gRPC core asks at each handshake, from a thread of its own.

    With a CA for clients each must show a certificate of it; what is shown is verified in the handshake.
    """
    used = [certificates.material]

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        material = certificates.material
        if material is used[0]:
            return None
        used[0] = material
        return _configuration(material)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(used[0]),
        renewed,  # type: ignore[arg-type] # None is documented: nothing has changed
        require_client_authentication=certificates.files.client_ca is not None,
    )


def _configuration(material: TlsMaterial) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(material.key, material.certificate)], root_certificates=material.client_ca
    )


def handshake_options() -> list[tuple[str, int]]:
    """Options of a server with TLS."""
    return [("grpc.server_handshake_timeout_ms", int(HANDSHAKE_TIMEOUT * 1000))]


def shown_certificate(context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    """The verified certificate of a call's connection, PEM; empty: none was shown."""
    return next(iter(context.auth_context().get("x509_pem_cert", ())), b"")
