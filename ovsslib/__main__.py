"""`python -m ovsslib` is the `ovss` command."""

from __future__ import annotations

from ovsslib.cli.main import main

if __name__ == "__main__":
    main()
