"""A configuration file, read whole: its shape, its routes, and every problem in either."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from authz.config.base import Shape
from authz.config.routes import BodyShape, RouteCacheShape, RouteShape
from authz.config.semantics import semantic_problems
from authz.config.shape import ConfigShape
from authz.config.yaml_text import Document, Place, read_document
from authz.core.body import BodyRules
from authz.core.errors import Misconfigured, Problem
from authz.core.route_compiler import AttributeSpec, RouteSpec

INLINE = "(inline)"
_ROUTES = TypeAdapter(tuple[RouteShape, ...])
_ADDRESS = re.compile(r"^Value error, ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What an operator wrote, checked. Paths are resolved against the file's folder."""

    shape: ConfigShape
    file: Path
    routes: tuple[RouteSpec, ...]
    files: frozenset[str]
    """Files that make up the configuration (itself, routes, deny list, keys, secrets); to be watched."""
    documents: Mapping[str, Document] = field(repr=False)
    """For the lines of later findings."""

    def path(self, name: str) -> Path:
        """A path of the configuration, relative to the file's folder."""
        return self.file.parent / name

    def problem(self, place: Place, message: str, *, severity: str = "error") -> Problem:
        """A problem at a place of the main file."""
        document = self.documents[str(self.file)]
        return Problem(message=message, file=document.file, line=document.line(place), severity=severity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A configuration if there is one, and every problem found on the way to it."""

    config: Config | None
    problems: tuple[Problem, ...]

    def required(self) -> Config:
        """The configuration.

        Raises:
            Misconfigured: with every problem of severity `error`.
        """
        errors = tuple(problem for problem in self.problems if problem.severity == "error")
        if errors or self.config is None:
            raise Misconfigured(errors)
        return self.config


def load_config(file: Path, environment: Mapping[str, str] | None = None) -> Loaded:
    """Reads a configuration. Never raises for what is written in it."""
    document = read_document(file, environment)
    problems = list(document.problems)
    if document.data is None:
        return Loaded(config=None, problems=tuple(problems))
    documents = {str(file): document}
    data, inline = _split(document)
    shape = _validated(document, data, problems)
    if shape is None:
        if inline is not None:
            _routes(document, inline, ("routes",), problems)
        return Loaded(config=None, problems=tuple(problems))
    specs = _route_specs(file, shape, document, inline, documents, problems, environment)
    problems.extend(semantic_problems(shape, document))
    config = Config(
        shape=shape,
        file=file,
        routes=specs,
        files=_files(file, shape, documents.values()),
        documents=documents,
    )
    return Loaded(config=config, problems=tuple(problems))


def _split(document: Document) -> tuple[Any, list[Any] | None]:
    """Inline routes are validated apart, so that their problems are not told twice."""
    data = document.data
    if isinstance(data, dict) and isinstance(data.get("routes"), list):
        return {**data, "routes": INLINE}, data["routes"]
    return data, None


def _validated(document: Document, data: Any, problems: list[Problem]) -> ConfigShape | None:
    try:
        return ConfigShape.model_validate(data)
    except ValidationError as error:
        _report(
            document,
            error.errors(include_url=False, include_context=False, include_input=False),
            (),
            problems,
        )
        return None


def _route_specs(
    file: Path,
    shape: ConfigShape,
    document: Document,
    inline: list[Any] | None,
    documents: dict[str, Document],
    problems: list[Problem],
    environment: Mapping[str, str] | None,
) -> tuple[RouteSpec, ...]:
    if inline is not None:
        return _routes(document, inline, ("routes",), problems)
    other = read_document(file.parent / str(shape.routes), environment)
    documents[other.file] = other
    problems.extend(other.problems)
    return _routes(other, other.data, (), problems) if other.data is not None else ()


def _routes(document: Document, data: Any, place: Place, problems: list[Problem]) -> tuple[RouteSpec, ...]:
    try:
        shapes = _ROUTES.validate_python(data)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        _report(document, details, place, problems)
        return ()
    return tuple(
        route_spec(shape, file=document.file, line=document.line((*place, index))) for index, shape in enumerate(shapes)
    )


def route_spec(shape: RouteShape, *, file: str, line: int | None) -> RouteSpec:
    """A route's shape as the core's plain value."""
    return RouteSpec(
        name=shape.name,
        methods=shape.match.methods,
        host=shape.match.host,
        path=shape.match.path,
        action=shape.action,
        resource_type=shape.resource.type,
        resource_id=shape.resource.id,
        resource_parents=tuple((parent.type, parent.id) for parent in shape.resource.parents),
        context={
            name: AttributeSpec(
                type=attribute.type,
                source=attribute.source,
                value=attribute.value,
                entity_type=attribute.entity_type,
                required=attribute.required,
            )
            for name, attribute in shape.context.items()
        },
        issuers=shape.issuers,
        authenticators=shape.authenticators,
        body=_body_rules(shape.body),
        preflight=shape.preflight == "pass",
        protocol=shape.match.protocol,
        anonymous=shape.anonymous,
        headers=shape.headers,
        cache=_cache(shape.cache),
        fail_open=shape.fail_open,
        file=file,
        line=line,
    )


def _cache(shape: RouteCacheShape | None) -> tuple[float, float] | None:
    if shape is None:
        return None
    return shape.allow, shape.allow / 10 if shape.deny is None else shape.deny


def _body_rules(shape: BodyShape | None) -> BodyRules | None:
    if shape is None:
        return None
    return BodyRules(kinds=frozenset(shape.accept), max_bytes=shape.max_bytes, optional=shape.optional)


def _report(document: Document, details: Sequence[ErrorDetails], prefix: Place, problems: list[Problem]) -> None:
    seen: set[Place] = set()
    for detail in details:
        place = (
            *prefix,
            *_existing(document.data, prefix, detail["loc"], missing=detail["type"] == "missing"),
        )
        if place not in seen:  # one message a value, though each arm of a union complains
            seen.add(place)
            document.problem(place, _message(place, detail))
    problems.extend(document.problems[len(document.problems) - len(seen) :])


def _existing(data: Any, prefix: Place, location: Place, *, missing: bool) -> Place:
    """The part of pydantic's location that is in the document; it also names arms of unions."""
    for step in prefix:
        data = data[step]
    found: list[str | int] = []
    for step in location:
        # A listener may be written alone where the shape has a list of one.
        if isinstance(data, Mapping) and (step in data or (missing and step == location[-1])):
            data = data.get(step)
            found.append(step)
        elif isinstance(data, list) and isinstance(step, int) and step < len(data):
            data = data[step]
            found.append(step)
        elif data is None and missing:
            found.append(step)
    return tuple(found)


def _message(place: Place, detail: ErrorDetails) -> str:
    where = ".".join(str(step) for step in place) or "the file"
    last = str(place[-1]) if place else ""
    if detail["type"] == "extra_forbidden":
        known = sorted({name for shape in _shapes() for name in _names(shape)})
        near = difflib.get_close_matches(last, known, n=1)
        return f"unknown key `{last[:60]}`" + (
            f"; did you mean `{near[0]}`?" if near else "; see docs/configuration.md"
        )
    if not place and detail["type"] in {"tuple_type", "model_type"}:
        return "expected a list of routes" if detail["type"] == "tuple_type" else "expected a mapping of settings"
    if detail["type"] == "missing":
        return f"`{where}` is required"
    message = _ADDRESS.sub("", detail["msg"])
    return f"`{where}`: {message[:1].lower()}{message[1:]}"


def _shapes() -> Iterable[type[Shape]]:
    return Shape.__subclasses__()


def _names(shape: type[Shape]) -> Iterable[str]:
    return (field.alias or name for name, field in shape.model_fields.items())


def _files(file: Path, shape: ConfigShape, documents: Iterable[Document]) -> frozenset[str]:
    names = [
        shape.deny_list,
        shape.policies.entities,
        *(issuer.jwks_file for issuer in shape.issuers),
        *(i.ca_file for i in shape.issuers),
        *(one.api_keys.file for one in shape.authenticators if one.api_keys is not None),
    ]
    found = {str(file.parent / name) for name in names if name is not None}
    for document in documents:
        found |= {document.file, *document.secrets}
    return frozenset(found)
