"""`authz completion`: scripts that shells can read, over every command and option."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest
import shtab

from authz import cli
from authz.devtools.completion import SHELLS, script

BASH = shutil.which("bash") or "bash"


def whole() -> argparse.ArgumentParser:
    return cli._parser([cli.COMPLETION])


def commands() -> dict[str, argparse.ArgumentParser]:
    (action,) = (action for action in whole()._actions if isinstance(action, argparse._SubParsersAction))
    return dict(action.choices)


def options() -> Iterator[tuple[str, str]]:
    for name, parser in commands().items():
        for action in parser._actions:
            for option in action.option_strings:
                yield name, option


@pytest.fixture(scope="module")
def bash() -> str:
    return script(whole(), "bash")


def test_the_parser_of_the_completion_has_what_each_command_has_by_itself():
    for name, parser in commands().items():
        (alone,) = (
            action.choices[name]
            for action in cli._parser([name])._actions
            if isinstance(action, argparse._SubParsersAction)
        )
        expected = [(action.option_strings, action.dest) for action in alone._actions]
        assert [(action.option_strings, action.dest) for action in parser._actions] == expected, name
        assert parser.get_default("run") is not None, name


@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_is_in_the_script(shell: str):
    text = script(whole(), shell)
    for name in commands():
        assert name in text, name
    if shell != "tcsh":  # shtab completes only commands there
        for name, option in options():
            assert option.lstrip("-") in text, (name, option)


def test_bash_can_read_it(bash: str):
    done = subprocess.run([BASH, "-n"], input=bash, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


def completed(text: str, line: str, folder) -> set[str]:
    """What bash offers at the end of a line."""
    words = line.split(" ")
    quoted = " ".join(f"'{word}'" for word in words)
    asked = f"""
COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; COMP_LINE='{line}'; COMP_POINT={len(line)}
function=$(complete -p authz | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
$function authz '{words[-1]}' '{words[-2]}' 2>/dev/null
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(
        [BASH, "--norc", "-c", text + asked], capture_output=True, text=True, check=False, timeout=30, cwd=folder
    )
    return {word.strip() for word in done.stdout.splitlines() if word.strip()}


def test_bash_completes_commands_options_choices_and_files(bash: str, tmp_path):
    (tmp_path / "authz.yaml").touch()
    (tmp_path / "policies").mkdir()
    assert commands().keys() <= completed(bash, "authz ", tmp_path)
    assert completed(bash, "authz ro", tmp_path) == {"routes"}
    assert completed(bash, "authz token --of", tmp_path) == {"--offline"}
    assert completed(bash, "authz test --j", tmp_path) == {"--junit"}
    assert completed(bash, "authz schema ro", tmp_path) == {"routes"}
    assert {"bash", "zsh"} <= completed(bash, "authz completion ", tmp_path)
    assert completed(bash, "authz serve -c auth", tmp_path) == {"authz.yaml"}
    assert completed(bash, "authz token --file auth", tmp_path) == {"authz.yaml"}
    assert completed(bash, "authz test --junit auth", tmp_path) == {"authz.yaml"}
    assert completed(bash, "authz init pol", tmp_path) >= {"policies"}


def test_the_command_prints_it(capsys):
    assert cli.main(["completion", "bash"]) == 0
    assert capsys.readouterr().out.rstrip("\n") == script(whole(), "bash").rstrip("\n")


def test_an_older_library_is_told(monkeypatch, capsys):
    monkeypatch.setattr(shtab, "SUPPORTED_SHELLS", ["bash", "zsh", "tcsh"])
    assert cli.main(["completion", "fish"]) == 2
    assert "no completion for fish" in capsys.readouterr().err


def test_a_server_reads_none_of_it():
    code = "import sys; from authz import cli; cli._parser(['serve']); print([m for m in sys.modules if 'devtools' in m or m == 'shtab'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
