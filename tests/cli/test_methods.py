"""`ovss methods` through the real command."""

from __future__ import annotations

import json
import subprocess
import sys

from ovsslib.methods import METHODS, SUPERVISION, default_model, records
from support.helpers import ovss


def test_every_method_is_a_row() -> None:
    done = ovss("methods")
    assert done.exit_code == 0, done.output
    head, *rows = done.stdout.partition("\n\nSupervision:\n")[0].splitlines()
    assert head.split("  ")[0] == "method"
    assert [row.split()[0] for row in rows] == list(records())
    for row, record in zip(rows, records().values(), strict=True):
        assert record.supervision in row
        assert default_model(record.method) in row
        assert row.endswith(record.reference)
    used = {record.supervision for record in records().values()}
    for name, meaning in SUPERVISION.items():
        assert (f"  {name}: {meaning}\n" in done.stdout) == (name in used)


def test_json() -> None:
    done = ovss("methods", "--json")
    found = {entry["method"]: entry for entry in json.loads(done.stdout)}
    assert found.keys() == METHODS.keys()
    assert found["pnp-ovss"]["model"] == "micro-blip"
    assert found["sam3"]["supervision"] == "masks"
    assert found["itaclip"]["reference"].startswith("Ayd\N{LATIN SMALL LETTER DOTLESS I}n")
    assert {*found["sclip"]} == {
        *("method", "supervision", "trained_on", "paper", "reference", "licence", "model"),
    }


def test_help_has_examples() -> None:
    assert "  ovss methods --json" in ovss("methods", "--help").output


def test_no_method_is_imported() -> None:
    code = (
        "import sys; from ovsslib.cli.main import app; from typer.testing import CliRunner; "
        "done = CliRunner().invoke(app, ['methods']); "
        "print(done.exit_code, {'torch', 'numpy', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0 set()"
