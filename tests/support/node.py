"""Node.js, which runs the page's scripts outside a browser."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.helpers import ROOT

SCRIPTS = ROOT / "book" / "_static" / "live"
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not here")


def run_node(code: str, given: Any, folder: Path) -> Any:
    """What a script's `answer` returns.

    Args:
        code: The body of an async function of `given`; `live(name)` imports one of the page's
            scripts.
        given: What JSON can hold.
        folder: For the two files.
    """
    (folder / "given.json").write_text(json.dumps(given))
    script = folder / "script.mjs"
    script.write_text(
        'import { readFileSync } from "node:fs";\n'
        f"const live = (name) => import({json.dumps(SCRIPTS.as_uri())} + `/${{name}}.mjs`);\n"
        f"const given = JSON.parse(readFileSync({json.dumps(str(folder / 'given.json'))}));\n"
        f"const answer = async () => {{\n{code}\n}};\n"
        "console.log(JSON.stringify(await answer()));\n"
    )
    done = subprocess.run(["node", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
