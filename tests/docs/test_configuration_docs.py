"""The examples of configuration load, and the reference names every setting with its default."""

from __future__ import annotations

import inspect
import json
import shutil
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import jsonschema
import pytest
import trustme
import yaml
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

from authz.authn.revocation import DenyList
from authz.config import shape
from authz.config.listeners import Listener
from authz.config.load import load_config
from authz.config.routes import RouteShape
from authz.core.errors import Problem
from authz.devtools.scaffold import write_start
from authz.wiring import assemble, runtime
from tests.docs.pages import CODE, DOCS, ROOT, SECRET, blocks, rows, text_of


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with everything that the examples name."""
    shutil.copytree(ROOT / "policies/documents", tmp_path / "policies/documents")
    write_start(tmp_path / "start")
    shutil.move(tmp_path / "start/policies/app", tmp_path / "policies/app")
    (tmp_path / "secrets").mkdir()
    for name in ("legacy", "record", "login-return"):
        (tmp_path / "secrets" / name).write_text(SECRET)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/api-keys.yaml").write_text("keys: []")
    monkeypatch.setenv("LOGIN_HOST", "login.example.com")
    return tmp_path


KEYS = {"file": "keys/api-keys.yaml"}
AUTHENTICATORS: list[dict[str, Any]] = [
    {"name": "bearer", "token": {}},
    {"name": "session", "token": {"cookie": "__Host-session"}},
]
BASE: dict[str, Any] = {
    "issuers": [{"issuer": "https://login.example.com", "audience": "documents-api"}],
    "policies": {"path": "policies/documents"},
    "routes": "policies/documents/routes.yaml",
}


def errors(file: Path) -> list[Problem]:
    return [problem for problem in assemble(file).problems if problem.severity == "error"]


@pytest.mark.parametrize("text", blocks("yaml"))
def test_an_example_in_yaml_loads(folder: Path, text: str) -> None:
    kind = text.partition("\n")[0]
    file = folder / "authz.yaml"
    if kind == "# deny.yaml":
        assert len(DenyList.parse(text)) > 0
        return
    if kind == "# api-keys.yaml":
        (folder / "keys/api-keys.yaml").write_text(text, encoding="utf-8")
        file.write_text(yaml.safe_dump(BASE | {"authenticators": [{"name": "keys", "api_keys": KEYS}]}))
    elif kind == "# routes.yaml":
        (folder / "routes.yaml").write_text(text, encoding="utf-8")
        application = "app" if "App::" in text else "documents"
        settings = BASE | {"routes": "routes.yaml", "policies": {"path": f"policies/{application}"}}
        if "authenticators:" in text:
            settings |= {"authenticators": AUTHENTICATORS}
        file.write_text(yaml.safe_dump(settings))
    else:
        # Strictly, as it stands; then with what a part of a configuration leaves out.
        data = yaml.safe_load(text)
        missing = {key: value for key, value in BASE.items() if key not in data}
        file.write_text(text + "\n" + (yaml.safe_dump(missing) if missing else ""), encoding="utf-8")
    assert errors(file) == []


@pytest.mark.parametrize("text", blocks("json"))
def test_an_example_in_json_is_json(text: str) -> None:
    json.loads(text)


def test_there_are_examples() -> None:
    assert len(blocks("yaml")) > 10
    assert len(blocks("json")) >= 3


# --- the complete examples --------------------------------------------------------------------------------


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The complete example with the files that are its reader's to make."""
    home = tmp_path / "examples"
    shutil.copytree(DOCS / "examples", home)
    for name in ("keys", "secrets"):
        (home / name).mkdir()
    trustme.CA().cert_pem.write_to_path(str(home / "keys/ca.pem"))
    public = ed25519.Ed25519PrivateKey.generate().public_key()
    (home / "keys/ci.pem").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    for name in ("legacy", "record", "login-return"):
        (home / "secrets" / name).write_text(SECRET)
    (home / "deny.yaml").write_text("{}")
    (home / "keys/api-keys.yaml").write_text("keys: []")
    return home / "authz.yaml"


def test_the_complete_example_passes_the_check_without_a_warning(example: Path) -> None:
    assembled = assemble(example)
    assert assembled.problems == ()
    assert assembled.assembly is not None


@pytest.mark.parametrize("name", ["authz", "routes"])
def test_the_complete_examples_fit_the_schemas_for_editors(name: str) -> None:
    schema = json.loads(text_of(f"docs/schema/{name}.schema.json"))
    document = yaml.safe_load(text_of(f"docs/examples/{name}.yaml"))
    jsonschema.Draft202012Validator(schema).validate(document)
    assert f"$schema=../schema/{name}.schema.json" in text_of(f"docs/examples/{name}.yaml").partition("\n")[0]


def test_the_complete_examples_have_every_setting(example: Path) -> None:
    config = load_config(example).required()
    routes = TypeAdapter(tuple[RouteShape, ...]).validate_python(
        yaml.safe_load((example.parent / "routes.yaml").read_text())
    )
    other = load_config(example.parent / "verified-permissions.yaml").required()
    present = {path for one in (config, other) for path in paths_set(one.shape, "")}
    present |= {path for one in routes for path in paths_set(one, "routes[].")}
    assert {path for path, _ in settings()} - present == set()


def paths_set(value: shape.Shape, prefix: str) -> Iterator[str]:
    """Every setting that was written, as `settings` names it."""
    for name in value.model_fields_set:
        field = type(value).model_fields[name]
        path = prefix + (field.alias or name)
        inner = getattr(value, name)
        yield path
        if isinstance(inner, shape.Shape):
            yield from paths_set(inner, f"{path}.")
        elif isinstance(inner, tuple):
            for item in inner:
                if isinstance(item, shape.Shape):
                    yield from paths_set(item, below(path, item))
        elif isinstance(inner, dict):
            for item in inner.values():
                if isinstance(item, shape.Shape):
                    yield from paths_set(item, f"{path}.NAME.")


def below(path: str, item: shape.Shape | type[shape.Shape]) -> str:
    kind = item if isinstance(item, type) else type(item)
    return "listeners.*[]." if kind is Listener else f"{path}[]."


# --- the reference of settings ----------------------------------------------------------------------------


def settings() -> list[tuple[str, FieldInfo]]:
    """Every setting of the configuration, by its way from the top."""
    return list(dict(fields(shape.ConfigShape, "")).items())


def fields(kind: type[shape.Shape], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in kind.model_fields.items():
        path = prefix + (field.alias or name)
        yield path, field
        for inner, many in shapes_in(field.annotation):
            if inner is not kind:
                yield from fields(inner, {"": f"{path}.", "list": below(path, inner), "map": f"{path}.NAME."}[many])


def shapes_in(annotation: Any, many: str = "") -> Iterator[tuple[type[shape.Shape], str]]:
    """The shapes that a type holds: itself, in a list or in a mapping."""
    if inspect.isclass(annotation) and not get_args(annotation):
        if issubclass(annotation, shape.Shape):
            yield annotation, many
        return
    origin = get_origin(annotation)
    inside = {tuple: "list", dict: "map"}.get(origin, many) if origin not in (Union, types.UnionType) else many
    for argument in get_args(annotation):
        yield from shapes_in(argument, inside)


def reference() -> dict[str, str]:
    """Setting → what the reference calls its default."""
    found = rows("docs/configuration.md", "Every setting", 2)
    table = {
        cells[0].strip("`"): cells[1] for cells in found if not cells[0].endswith((".cedar`", ".json`", "schema`"))
    }
    assert len(table) == len([cells for cells in found if cells[0].strip("`") in table]), "a setting stands twice"
    return table


def test_the_reference_has_every_setting_and_nothing_else() -> None:
    assert set(reference()) == {path for path, _ in settings()}


@pytest.mark.parametrize(("path", "field"), [pytest.param(path, field, id=path) for path, field in settings()])
def test_the_reference_tells_the_default(path: str, field: FieldInfo) -> None:
    told = reference()[path]
    if field.is_required():
        assert told == "required"
    elif field.default is None:
        assert told == "none"
    elif isinstance(field.default, shape.Shape):
        assert told == "see below"
    else:
        [text] = CODE.findall(told)
        kind: Any = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
        accepts: TypeAdapter[Any] = TypeAdapter(kind)
        assert accepts.validate_python(yaml.safe_load(text)) == field.default


def test_there_are_settings() -> None:
    assert len(settings()) > 80
    assert {"limits.deadline", "listeners.*[].mode", "issuers[].groups.type", "routes[].context.NAME.from"} <= {
        path for path, _ in settings()
    }


def test_settings_that_a_reload_does_not_reach_are_told() -> None:
    told = [
        name for cells in rows("docs/configuration.md", "What a change needs", 2) for name in CODE.findall(cells[1])
    ]
    assert sorted(name for name in told if "{" not in name) == sorted(runtime.NEED_A_START)
