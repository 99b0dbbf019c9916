"""The command line as a whole: its help, what it imports, its version."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest

from ovsslib.cli.main import COMMANDS
from support.helpers import ovss


def test_help_lists_every_command() -> None:
    done = ovss("--help")
    for command in COMMANDS:
        assert f"  {command} " in done.stdout


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from ovsslib.cli.main import app; from typer.testing import CliRunner; "
        "names = ('', 'segment', 'run', 'deviations', 'regress'); "
        "[CliRunner().invoke(app, [name, '--help']) for name in names]; "
        "print({'torch', 'numpy', 'PIL', 'matplotlib', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("command", ["segment", "run", "deviations", "regress"])
def test_every_command_has_examples(command: str) -> None:
    done = ovss(command, "--help")
    assert done.exit_code == 0
    assert f"  ovss {command}" in done.output


def test_version() -> None:
    for arguments in (["--version"], ["--debug", "--version"], ["--version", "segment"]):
        done = ovss(*arguments)
        assert done.exit_code == 0
        assert done.stderr == ""
        assert done.stdout == f"{metadata.version('ovsslib')}\n"
