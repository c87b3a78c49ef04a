"""Answers `envoy.service.auth.v3.Authorization/Check`: bytes in, bytes out, whatever carries them.

Messages are the codec's business, the wire is the host's. To Envoy an RPC that ends with an error is no denial but
an error, whatever its code, and `failure_mode_allow` turns that into an allow. So every check that arrives is
answered by an ordinary reply: no exception leaves this module but the cancellation of a caller that went away.
"""

from __future__ import annotations

import logging
import traceback
from dataclasses import dataclass

from authz.core.errors import AuthzError, Reason, RequestRefused, Unavailable
from authz.core.model import Failed, Headers, Outcome, Peer, Request, Stage
from authz.servers.extauthz_codec import OnFailure, asker_of, decode, encode
from authz.service import Service

AUTHORIZATION = "envoy.service.auth.v3.Authorization"
CHECK = f"/{AUTHORIZATION}/Check"
DOOR = "grpc"

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSettings:
    """How a check is read and answered."""

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

    @property
    def max_message_bytes(self) -> int:
        """A host may stop reading here: `check` refuses what is longer, whole or not."""
        return self._settings.max_message_bytes

    async def check(self, data: bytes, peer: Peer, remaining: float | None = None) -> bytes:
        """The reply to one check. Raises nothing but what cancels the task (BaseException).

        Args:
            data: the serialized CheckRequest.
            peer: who is at the other end of the connection.
            remaining: seconds until the caller gives up; None: it waits for ever.
        """
        decision_id = self._service.new_id()
        try:
            outcome, asker = await self._outcome(data, peer, remaining, decision_id)
            return self._reply(outcome, decision_id, asker)
        except Exception as error:  # noqa: BLE001 - an RPC error could be an allow to the proxy
            return self.broken(error, decision_id)

    def refuse(self, why: str) -> bytes:
        """The reply to a call that holds no check: recorded, and a denial, as an RPC error would not be."""
        decision_id = self._service.new_id()
        try:
            outcome = self._service.refuse(RequestRefused(Reason.BAD_CHECK, why), id=decision_id, door=DOOR)
            return self._reply(outcome, decision_id)
        except Exception as error:  # noqa: BLE001 - as in `check`
            return self.broken(error, decision_id)

    def broken(self, error: Exception, decision_id: str = "") -> bytes:
        """The reply where something failed that should not have; its type is told in the log."""
        _log(error)
        return self.unanswered(decision_id)

    def unanswered(self, decision_id: str = "") -> bytes:
        """The reply where there will be none: a failure."""
        decision_id = decision_id or self._service.new_id()
        return self._reply(Failed(stage=Stage.ENFORCE, reason=Reason.INTERNAL, status=500), decision_id)

    async def _outcome(
        self, data: bytes, peer: Peer, remaining: float | None, decision_id: str
    ) -> tuple[Outcome, Request | Headers | None]:
        settings, service = self._settings, self._service
        try:
            if len(data) > settings.max_message_bytes:
                limit = settings.max_message_bytes
                raise RequestRefused(Reason.TOO_LARGE, f"the check request has more than {limit} bytes")
            request = decode(
                data,
                id=decision_id,
                peer=peer,
                rules=service.path_rules,
                trusted_hops=settings.trusted_hops,
                use_external_address=settings.use_external_address,
                body_limit=service.body_limit,
            )
        except AuthzError as error:
            asker = asker_of(data) if len(data) <= settings.max_message_bytes else None
            return service.refuse(error, id=decision_id, door=DOOR), asker
        except Exception as error:  # noqa: BLE001 - what was not read is not decided
            _log(error)
            unread = Unavailable(Reason.INTERNAL, f"unexpected {type(error).__name__} while the check was read")
            return service.refuse(unread, id=decision_id, door=DOOR), None
        if remaining is not None:
            remaining -= min(settings.reply_margin, remaining / 10)
        return await service.check(request, door=DOOR, deadline=remaining), request

    def _reply(self, outcome: Outcome, decision_id: str, asker: Request | Headers | None = None) -> bytes:
        return encode(
            self._service.respond(outcome, decision_id, asker),
            outcome,
            decision_id=decision_id,
            on_failure=self._settings.on_failure,
            metadata=self._settings.metadata,
            connection=isinstance(asker, Request) and asker.protocol == "tcp",
        )


def _log(error: Exception) -> None:
    # Neither the error's message nor local values, either of which may hold a credential.
    frame = traceback.extract_tb(error.__traceback__)[-1]
    _LOGGER.error("unexpected %s in %s, line %s", type(error).__name__, frame.filename, frame.lineno)
