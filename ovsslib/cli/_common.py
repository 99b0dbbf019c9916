"""What the commands share: settings and numbers given as text, progress, one-line warnings."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import typer

from ovsslib.errors import OvssError
from ovsslib.redact import redact

T = TypeVar("T")


def split_names(text: str) -> list[str]:
    """Names separated by commas; an empty text gives none.

    Example:
        >>> split_names("house, traffic light,")
        ['house', 'traffic light', '']
    """
    return [name.strip() for name in text.split(",")] if text.strip() else []


def new_app(*, group: bool = False, help: str | None = None) -> typer.Typer:
    """A typer app with plain help and without completion; every command's module has one.

    Args:
        group: Whether it holds several commands; then its help is shown when none is named.
        help: Of the whole group; None takes the docstring of the group's callback.
    """
    # None itself would hide the callback's docstring.
    more: dict[str, Any] = {} if help is None else {"help": help}
    return typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        no_args_is_help=group,
        **more,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def settings(pairs: Sequence[str], option: str = "--set") -> dict[str, Any]:
    """Settings given as `--set key=value`; values are JSON, or else plain text.

    Args:
        pairs: What was given.
        option: The option's name, for errors.

    Example:
        >>> settings(["crf=false", "head=none", "salience=attention", "blur=0.1"])
        {'crf': False, 'head': None, 'salience': 'attention', 'blur': 0.1}
    """
    out: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip():
            example = "crf=false" if option == "--set" else "threshold=0.5"
            raise OvssError(f"{option} {pair!r}: write it as key=value, such as {option} {example}")
        word = text.strip()
        constants = {"none": None, "true": True, "false": False}
        try:
            value = constants[word.lower()] if word.lower() in constants else json.loads(word)
        except ValueError:
            value = word
        out[key.strip().replace("-", "_")] = value
    return out


def progress(items: Iterable[T], description: str = "", total: int | None = None) -> Iterable[T]:
    """A progress bar on standard error; none where that is not a terminal, nor in a quiet build."""
    if not sys.stderr.isatty() or os.environ.get("OVSS_QUIET"):
        return items
    from tqdm import tqdm

    return tqdm(items, desc=description, total=total, file=sys.stderr, leave=False)


def note(text: str) -> None:
    """Write one line to standard error without breaking a progress bar."""
    line = redact(" ".join(text.split()))
    if "tqdm" in sys.modules and sys.stderr.isatty():
        from tqdm import tqdm

        tqdm.write(line, file=sys.stderr)
    else:
        typer.echo(line, err=True)


@contextlib.contextmanager
def plain_output(*, debug: bool = False) -> Iterator[None]:
    """Show this library's warnings as `warning: …`, each once; silence other libraries'.

    Args:
        debug: Whether to show other libraries' warnings too.
    """
    if not debug:
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        if "transformers" in sys.modules:  # imported already: it has read the variables
            from transformers.utils import logging as transformers_logging

            transformers_logging.disable_progress_bar()
            transformers_logging.set_verbosity_error()
    seen: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        del where, more
        text = str(message)
        if text not in seen and (category is UserWarning or debug):
            seen.add(text)
            note(f"warning: {text}")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Our own modules only: torch and transformers warn of what no user can change.
        warnings.filterwarnings("always", category=UserWarning, module=r"ovsslib(\.|$)")
        if debug:
            warnings.simplefilter("default")
        warnings.showwarning = show
        yield


def debugging(ctx: typer.Context) -> bool:
    """Whether `--debug` was given."""
    return bool(ctx.find_root().params.get("debug"))


def numbers(text: str, option: str, *, least: int) -> list[int]:
    """Parse whole numbers such as `"1,2,4"`; an empty text gives none.

    Raises:
        OvssError: The text is something else, or a number is too small.

    Example:
        >>> numbers("1, 2,4", "--batches", least=1)
        [1, 2, 4]
    """
    words = split_names(text)
    values = [int(word) for word in words if re.fullmatch("[0-9]{1,6}", word)]
    if len(values) != len(words) or any(value < least for value in values):
        raise OvssError(f"{option} {text!r}: give whole numbers from {least} up, such as 1,2,4")
    return values


def fractions(text: str, option: str) -> tuple[float, ...]:
    """Parse numbers from 0 to 1 such as `"0.05,0.1"`; an empty text gives none.

    Raises:
        OvssError: The text is something else.

    Example:
        >>> fractions("0.05, 0.1", "--blurs")
        (0.05, 0.1)
    """
    words = split_names(text)
    values = tuple(float(word) for word in words if re.fullmatch(r"[01]|[01]?\.[0-9]{1,9}", word))
    if len(values) != len(words) or any(value > 1 for value in values):
        raise OvssError(f"{option} {text!r}: give numbers from 0 to 1, such as 0.05,0.1")
    return values


def sizes_of(text: str) -> list[tuple[int, int]]:
    """Parse widths and heights such as `"500x375,640x480"`.

    Raises:
        OvssError: The text is something else.

    Example:
        >>> sizes_of("500x375")
        [(500, 375)]
    """
    if not all(re.fullmatch("[1-9][0-9]{0,4}x[1-9][0-9]{0,4}", w) for w in split_names(text)):
        raise OvssError(f"--size {text!r}: give width x height in pixels, such as 500x375")
    pairs = [word.split("x") for word in split_names(text)]
    return [(int(width), int(height)) for width, height in pairs]


def show_comparison(path: Path, record: dict[str, Any], text: str, *, as_json: bool) -> None:
    """Print what `ovsslib.evaluate.comparison.measure` gave; unreadable images end in status 1.

    Args:
        path: The file it was written to.
        record: Its content.
        text: The same in a few lines.
        as_json: Print the content instead of the text.
    """
    from ovsslib.io.json import dumps

    typer.echo(dumps(record).rstrip() if as_json else f"{text}\nwritten: {path}")
    for name, reason in record["failed"].items():
        note(f"error: {name}: {reason}")
    if record["failed"]:
        raise typer.Exit(1)
