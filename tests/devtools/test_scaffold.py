"""`authz init` writes a start that is complete, right as it stands, and never in the way of what is there."""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from authz.config import load_config
from authz.config.routes import RouteShape
from authz.config.shape import ConfigShape
from authz.devtools.cases import run_cases
from authz.devtools.samples import envoy_example, sample
from authz.devtools.scaffold import WouldOverwrite, add_init_arguments, main_init, start_files, write_start
from authz.wiring.assembly import assemble

SETTING = re.compile(r"^( *(?:- )?)#([a-z_]+:.*)$")
# What is shown where there is no default, or a default that is nothing.
EXAMPLES = {
    "grpc",
    "login",
    "connection_age",
    "jwks_uri",
    "jwks_file",
    "keys",
    "secret",
    "prefix",
    "types",
    "ca_file",
    "deny_list",
    "hash_key",
}


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser(prog="authz init")
    add_init_arguments(parser)
    return main_init(parser.parse_args(arguments))


# --- what is written --------------------------------------------------------------------------------------


def test_a_start_has_everything_that_a_project_needs(tmp_path: Path) -> None:
    written = write_start(tmp_path / "new" / "project")
    assert [file.relative_to(tmp_path / "new" / "project").as_posix() for file in written] == [
        "authz.yaml",
        "policies/app/cases/first.yaml",
        "policies/app/entities.json",
        "policies/app/policies.cedar",
        "policies/app/routes.yaml",
        "policies/app/schema.cedarschema",
    ]
    assert all(file.read_text(encoding="utf-8") for file in written)


def test_a_start_passes_the_check_without_even_a_warning(tmp_path: Path) -> None:
    write_start(tmp_path)
    assembled = assemble(tmp_path / "authz.yaml", {})
    assert assembled.problems == ()
    assert assembled.assembly is not None


async def test_the_cases_of_a_start_pass_and_leave_nothing_unseen(tmp_path: Path) -> None:
    write_start(tmp_path)
    report = await run_cases([], config=tmp_path / "authz.yaml")
    assert (report.problems, report.failed, report.covered) == ((), (), True)
    assert len(report.results) >= 5


async def test_the_application_of_a_start_passes_alone_too(tmp_path: Path) -> None:
    write_start(tmp_path)
    report = await run_cases([tmp_path / "policies" / "app"])
    assert (report.problems, report.failed, report.covered) == ((), (), True)


# --- authz.yaml shows every setting -----------------------------------------------------------------------


def template() -> list[str]:
    return (start_folder() / "authz.yaml").read_text(encoding="utf-8").splitlines()


def start_folder() -> Path:
    from authz.devtools.scaffold import START

    return START


def models(shape: Any) -> Iterator[type[BaseModel]]:
    """Every model below a shape's fields."""
    if isinstance(shape, type) and issubclass(shape, BaseModel):
        yield shape
        for field in shape.model_fields.values():
            yield from models(field.annotation)
    for argument in getattr(shape, "__args__", ()):
        yield from models(argument)


def settings() -> set[str]:
    routes = set(models(RouteShape))
    return {name for model in set(models(ConfigShape)) - routes for name in model.model_fields}


def test_authz_yaml_shows_every_setting() -> None:
    shown = {name for line in template() for name in re.findall(r"(?:^|[ #{])([a-z_]+):(?= |$)", line)}
    assert settings() - shown == set()


def test_every_setting_that_is_shown_can_be_put_in_force(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    for name in ("login", "record", "return"):
        (tmp_path / "secrets" / name).write_text("a secret of thirty-two bytes or more")
    lines = template()
    base = load_config(written(tmp_path, lines), {}).required().shape
    shown = [(index, match) for index, line in enumerate(lines) if (match := SETTING.match(line)) is not None]
    assert len(shown) > 30
    for index, match in shown:
        name = match[2].partition(":")[0]
        changed = [*lines[:index], match[1] + match[2], *lines[index + 1 :]]
        if name == "secret":
            changed = [line.replace("[RS256, ES256]", "[HS256]") for line in changed]
        loaded = load_config(written(tmp_path, changed), {})
        assert loaded.problems == (), match[2]
        assert loaded.config is not None
        differs = loaded.config.shape != base
        assert differs == (name in EXAMPLES or match[2] == "max_age: 1h"), f"{match[2]} is no default, or no example"


def written(folder: Path, lines: list[str]) -> Path:
    write_routes(folder)
    file = folder / "authz.yaml"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def write_routes(folder: Path) -> None:
    file = folder / "policies" / "app" / "routes.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes((start_folder() / "policies" / "app" / "routes.yaml").read_bytes())


# --- what is there stays ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", start_files(), ids=str)
def test_any_file_that_exists_stops_the_whole(tmp_path: Path, name: Path) -> None:
    mine = tmp_path / name
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_text("mine")
    with pytest.raises(WouldOverwrite) as refusal:
        write_start(tmp_path)
    assert refusal.value.files == (mine,)
    assert mine.read_text() == "mine"
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [mine]


def test_a_link_to_nowhere_counts_as_existing(tmp_path: Path) -> None:
    (tmp_path / "authz.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    with pytest.raises(WouldOverwrite):
        write_start(tmp_path)
    assert not (tmp_path / "elsewhere.yaml").exists()


def test_what_else_lies_in_the_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    write_start(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"


# --- the command ------------------------------------------------------------------------------------------


def test_the_command_writes_here_and_says_what_is_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run() == 0
    out, err = capsys.readouterr()
    assert (tmp_path / "authz.yaml").is_file()
    assert "  policies/app/cases/first.yaml\n" in out
    assert [word for word in ("authz check", "authz test", "authz serve") if word not in out] == []
    assert "cd " not in out
    assert err == ""


def test_the_command_says_how_to_get_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(str(tmp_path / "my project")) == 0
    assert f"  cd '{tmp_path}/my project'\n" in capsys.readouterr().out


def test_the_command_lists_every_file_that_is_in_the_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_start(tmp_path)
    assert run(str(tmp_path)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert [name for name in start_files() if f"  {tmp_path / name}\n" not in err] == []


def test_the_command_says_why_it_cannot_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "policies").write_text("a file where a folder is needed")
    assert run(str(tmp_path)) == 2
    assert "cannot be written" in capsys.readouterr().err


# --- samples ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["policies/documents", "policies/documents/cases/reading.yaml", "envoy"])
def test_samples_are_found_beside_an_editable_package(name: str) -> None:
    assert sample(name) == Path(__file__).resolve().parents[2] / name


def test_an_example_of_a_proxy_is_found_by_its_name() -> None:
    assert envoy_example("http-tcp.yaml").is_file()
    assert envoy_example("traefik/traefik.yaml").is_file()


def test_samples_inside_the_package_come_first(tmp_path: Path) -> None:
    package = tmp_path / "site-packages" / "authz"
    inside, beside = package / "samples" / "envoy", package.parent / "envoy"
    for folder in (inside, beside):
        folder.mkdir(parents=True)
        (folder / "http-tcp.yaml").touch()
    assert sample("envoy", package=package) == inside
    assert envoy_example("http-tcp.yaml", package=package) == inside / "http-tcp.yaml"


@pytest.mark.parametrize("name", ["policies/nothing", "", "../secrets", "policies/../../x", "/etc/hostname"])
def test_what_is_no_sample_is_refused(name: str) -> None:
    with pytest.raises(FileNotFoundError):
        sample(name)
