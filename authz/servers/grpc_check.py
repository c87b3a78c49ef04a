"""Answers `envoy.service.auth.v3.Authorization/Check`: bytes in, bytes out.

Messages are the codec's business. To Envoy an RPC that ends with an error is no denial but an error, whatever its
code, and `failure_mode_allow` turns that into an allow. So every check that arrives is answered by an ordinary
reply: no exception leaves this module but the cancellation of a caller that went away, and nothing calls `abort`.
"""

from __future__ import annotations

import logging
import traceback
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import unquote

import grpc
import grpc.aio

from authz.core.enforce import respond
from authz.core.errors import AuthzError, Reason, RequestRefused, Unavailable
from authz.core.model import Failed, Outcome, Peer, Stage
from authz.servers.extauthz_codec import OnFailure, decode, encode
from authz.servers.trust import TrustedPeers
from authz.service import Service

AUTHORIZATION = "envoy.service.auth.v3.Authorization"
DOOR = "grpc"

Context = grpc.aio.ServicerContext[bytes, bytes]

_KNOWN_PEERS = 1024
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSettings:
    """How a check is read and answered."""

    trusted: TrustedPeers = field(default_factory=TrustedPeers.parse)
    """Whose checks count."""
    trusted_hops: int = 0
    """See `extauthz_codec.decode`."""
    use_external_address: bool = False
    """See `extauthz_codec.decode`."""
    on_failure: OnFailure = "deny"
    """See `extauthz_codec.encode`."""
    metadata: bool = True
    """See `extauthz_codec.encode`."""
    reply_margin: float = 0.01
    """Seconds of the caller's deadline kept for the reply, or a tenth of it if that is less."""
    max_message_bytes: int = 4 * 1024 * 1024
    """Largest check request; keep it above Envoy's `max_request_bytes`. A larger one is refused, `too_large`."""


class Checks:
    """Answers checks by asking a service."""

    def __init__(self, service: Service, settings: CheckSettings) -> None:
        self._service = service
        self._settings = settings
        # One connection of a proxy carries all its checks, so its peer string hardly ever changes.
        self._peer = lru_cache(_KNOWN_PEERS)(lambda text: read_peer(text, settings.trusted))

    def handler(self) -> grpc.GenericRpcHandler:
        """Carries `Check` without generated service code."""
        check: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(self.check)
        return grpc.method_handlers_generic_handler(AUTHORIZATION, {"Check": check})

    async def check(self, data: bytes, context: Context) -> bytes:
        """The reply to one check. Raises nothing but what cancels the task (BaseException)."""
        decision_id = self._service.new_id()
        try:
            outcome = await self._outcome(data, context, decision_id)
            return self._reply(outcome, decision_id)
        except Exception as error:  # noqa: BLE001 - an RPC error could be an allow to the proxy
            _log(error)
            return self._reply(Failed(stage=Stage.ENFORCE, reason=Reason.INTERNAL, status=500), decision_id)

    async def _outcome(self, data: bytes, context: Context, decision_id: str) -> Outcome:
        settings, service = self._settings, self._service
        try:
            if len(data) > settings.max_message_bytes:
                limit = settings.max_message_bytes
                raise RequestRefused(Reason.TOO_LARGE, f"the check request has more than {limit} bytes")
            request = decode(
                data,
                id=decision_id,
                peer=self._peer(context.peer()),
                rules=service.path_rules,
                trusted_hops=settings.trusted_hops,
                use_external_address=settings.use_external_address,
            )
        except AuthzError as error:
            return service.refuse(error, id=decision_id, door=DOOR)
        except Exception as error:  # noqa: BLE001 - what was not read is not decided
            _log(error)
            unread = Unavailable(Reason.INTERNAL, f"unexpected {type(error).__name__} while the check was read")
            return service.refuse(unread, id=decision_id, door=DOOR)
        remaining = context.time_remaining()
        if remaining is not None:
            remaining -= min(settings.reply_margin, remaining / 10)
        return await service.check(request, door=DOOR, deadline=remaining)

    def _reply(self, outcome: Outcome, decision_id: str) -> bytes:
        return encode(
            respond(outcome, decision_id, self._service.disclosure),
            outcome,
            decision_id=decision_id,
            on_failure=self._settings.on_failure,
            metadata=self._settings.metadata,
        )


def read_peer(text: str, trusted: TrustedPeers) -> Peer:
    """Who called, from gRPC's peer string: `ipv4:127.0.0.1:51234`, `ipv6:%5B::1%5D:51234` or `unix:`."""
    family, _, rest = text.partition(":")
    if family == "unix":
        return trusted.peer(None)
    if family in {"ipv4", "ipv6"}:
        return trusted.peer(unquote(rest).rpartition(":")[0].strip("[]"))
    return Peer()


def _log(error: Exception) -> None:
    # Neither the error's message nor local values, either of which may hold a credential.
    frame = traceback.extract_tb(error.__traceback__)[-1]
    _LOGGER.error("unexpected %s in %s, line %s", type(error).__name__, frame.filename, frame.lineno)
