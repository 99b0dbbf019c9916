"""The command line, `ovss`: each command's module is imported only when it is called."""

from __future__ import annotations

import importlib
import os
import re
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from ovsslib.cli._common import note
from ovsslib.errors import OvssError
from ovsslib.redact import redact

COMMANDS: dict[str, tuple[str, str]] = {
    "segment": ("ovsslib.cli.segment", "Segment images into classes you name."),
    "run": ("ovsslib.cli.run", "Measure a method on a data set."),
    "tune": ("ovsslib.cli.tune", "Find layer, head, threshold and blur without masks."),
    "deviations": (
        "ovsslib.cli.deviations",
        "Measure where the released code departs from the paper.",
    ),
    "factorial": (
        "ovsslib.cli.factorial",
        "Measure gradient, heads and dropout in all combinations.",
    ),
    "vocabulary": ("ovsslib.cli.vocabulary", "Measure what a figure owes to the names."),
    "filter": ("ovsslib.cli.filter", "Find which classes are in the images."),
    "regress": ("ovsslib.cli.regress", "Recompute stored figures and compare."),
    "table": ("ovsslib.cli.table", "Show results beside the published figures."),
    "methods": ("ovsslib.cli.methods", "List the methods: supervision, default model, paper."),
    "data": ("ovsslib.cli.data", "List, check, download and convert data sets."),
    "diorama": ("ovsslib.cli.diorama", "Make the miniature data set."),
    "train": ("ovsslib.cli.train", "Train the micro models."),
    "localise": ("ovsslib.cli.localise", "Show which layers and heads attend to the right places."),
    "export": ("ovsslib.cli.export", "Write a BLIP with its gradient as one ONNX file."),
    "bench": ("ovsslib.cli.bench.command", "Measure speed and memory on this machine."),
    "doctor": ("ovsslib.cli.doctor", "Show what is installed, found and missing."),
    "book": ("ovsslib.cli.book", "Execute the notebooks and build the book."),
}
"""Command -> module (which holds a typer `app`) and what it does."""


class LazyGroup(TyperGroup):
    """A command group that imports a command when it is called, and prints errors as one line."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of `COMMANDS`."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import and return a command; None if there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command = typer.main.get_command(module.app)
        command.name = cmd_name
        _keep_lines(command)
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The list in `ovss --help`, without importing anything."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, what) for name, (_, what) in COMMANDS.items()])

    def get_help(self, ctx: Any) -> str:
        """The help text, examples line by line."""
        self.help = (self.help or "").replace("\\b", "\b")
        return super().get_help(ctx)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Accept `--debug` anywhere, and `~` where the shell leaves it (`--out=~/x`)."""
        args = [re.sub(r"^(--[\w-]+=)?(~.*)", _at_home, arg, flags=re.DOTALL) for arg in args]
        end = args.index("--") if "--" in args else len(args)
        if "--debug" in args[:end]:
            args = ["--debug"] + [a for i, a in enumerate(args) if a != "--debug" or i > end]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; an error becomes `error: …` and status 2 unless `--debug`."""
        if ctx.params.get("debug"):
            return super().invoke(ctx)
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except (
            ArithmeticError,
            LookupError,
            RuntimeError,
            TypeError,
            ValueError,
            OSError,
            OvssError,
        ) as error:
            if type(error).__module__.startswith(("typer", "click")):
                raise
            note(f"error: {_words(error)}")
        raise typer.Exit(2)


def _at_home(argument: re.Match[str]) -> str:
    return (argument[1] or "") + os.path.expanduser(argument[2])


def _words(error: Exception) -> str:
    """What is wrong and, where that is known, what to do."""
    if isinstance(error, OvssError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        where = error.filename or "the output"
        return f"{where}: {error.strerror}; choose another place, or mend its rights or space"
    return f"{type(error).__name__}: {error} (unexpected; --debug shows where)"


def _keep_lines(command: Any) -> None:
    r"""Turn the `\b` of raw docstrings into the character that keeps lines from being rewrapped."""
    command.help = (command.help or "").replace("\\b", "\b")
    for below in getattr(command, "commands", {}).values():
        _keep_lines(below)


app = typer.Typer(
    cls=LazyGroup,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    """Print the version and exit; eager, so that no command need be given."""
    if wanted:
        import ovsslib

        typer.echo(ovsslib.__version__)
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(
        False,
        "--version",
        help="Print the version and stop.",
        callback=_show_version,
        is_eager=True,
    ),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
) -> None:
    r"""Open-vocabulary segmentation with a frozen vision-language model (PnP-OVSS).

    \b
    Examples:
      ovss segment photo.jpg --classes "house, traffic light, grass"
      ovss run --dataset diorama --filter oracle --limit 20
      ovss COMMAND --help
    """
    del version, debug


def main() -> None:
    """Entry point of the `ovss` command."""
    if sys.getfilesystemencoding() == "ascii" and "utf8" not in sys._xoptions:
        # A C locale: names of files and classes are UTF-8 there as well.
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed: the next file opened would get its output
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - until the end
    for name, value in os.environ.items():
        if name.startswith("OVSS_"):
            os.environ[name] = os.path.expanduser(value)
    # A character that the terminal cannot show must not end a run after the work is done.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        app()
    except Exception as error:
        if isinstance(error, OSError) and "--debug" not in sys.argv:  # from --help, --version
            note(f"error: {_words(error)}")
            raise SystemExit(2) from error
        import traceback

        sys.stderr.write(redact("".join(traceback.format_exception(error))))
        raise SystemExit(1) from error
