"""What a configuration says of the service itself: limits, what clients learn, how paths are read."""

from __future__ import annotations

from authz.config.responses import LoginShape
from authz.core.enforce import Disclosure
from authz.core.login import Login, signing_key
from authz.core.pipeline import Authorizer
from authz.core.request import PathRules
from authz.service import Limits, Service
from authz.wiring.assembly import Assembly


def service_of(assembly: Assembly, authorizer: Authorizer, service: Service | None) -> Service:
    """The one service of a process, made or changed: the authorizer comes last, and in one step."""
    shape = assembly.config.shape
    limits = Limits(deadline=shape.limits.deadline, in_flight=shape.limits.in_flight)
    disclosure = Disclosure(
        realm=shape.responses.realm,
        deny_messages=shape.responses.deny_messages,
        policies=shape.responses.policies,
        html=shape.responses.html,
        login=_login(shape.responses.login),
    )
    rules = PathRules(**shape.paths.model_dump())
    if service is None:
        return Service(authorizer=authorizer, limits=limits, disclosure=disclosure, path_rules=rules)
    service.limits, service.disclosure, service.path_rules = limits, disclosure, rules
    service.authorizer = authorizer
    return service


def _login(shape: LoginShape | None) -> Login | None:
    if shape is None:
        return None
    return Login(
        url=shape.url,
        key=signing_key(shape.key),
        hosts=shape.hosts,
        parameter=shape.parameter,
        valid=shape.valid,
    )
