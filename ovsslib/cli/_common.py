"""What the commands share: settings and numbers given as text, progress, warnings of one line."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import typer

from ovsslib.errors import OvssError
from ovsslib.redact import redact

T = TypeVar("T")


def split_names(text: str) -> list[str]:
    """Class names out of `"house, traffic light"`; an empty text gives none.

    Example:
        >>> split_names("house, traffic light,")
        ['house', 'traffic light', '']
    """
    return [name.strip() for name in text.split(",")] if text.strip() else []


def new_app(*, group: bool = False, help: str | None = None) -> typer.Typer:
    """What every command's file begins with: plain help, no completion.

    Args:
        group: Whether it holds several commands, so that without one its help is shown.
        help: Of the whole group; None leaves it to the docstring of the group's callback.
    """
    # None itself would hide the callback's docstring.
    words: dict[str, Any] = {} if help is None else {"help": help}
    return typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        no_args_is_help=group,
        **words,
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
        plain = {"none": None, "true": True, "false": False}
        try:
            value = plain[word.lower()] if word.lower() in plain else json.loads(word)
        except ValueError:
            value = word
        out[key.strip().replace("-", "_")] = value
    return out


def progress(items: Iterable[T], description: str = "", total: int | None = None) -> Iterable[T]:
    """A progress bar on standard error; none where that is no terminal, nor in a quiet build."""
    if not sys.stderr.isatty() or os.environ.get("OVSS_QUIET"):
        return items
    from tqdm import tqdm

    return tqdm(items, desc=description, total=total, file=sys.stderr, leave=False)


def note(text: str) -> None:
    """One line on standard error that keeps a progress bar whole."""
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
        debug: Whether other libraries may speak too.
    """
    if not debug:
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        if "transformers" in sys.modules:  # imported before: the variables are read no more
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
        # A library's own modules only: torch and transformers warn of what no user can change.
        warnings.filterwarnings("always", category=UserWarning, module=r"ovsslib(\.|$)")
        if debug:
            warnings.simplefilter("default")
        warnings.showwarning = show
        yield


def debugging(ctx: typer.Context) -> bool:
    """Whether `--debug` was given."""
    return bool(ctx.find_root().params.get("debug"))


def numbers(text: str, option: str, *, least: int) -> list[int]:
    """Whole numbers out of `"1,2,4"`; an empty text gives none.

    Raises:
        OvssError: Something else stands there, or a number is too small.

    Example:
        >>> numbers("1, 2,4", "--batches", least=1)
        [1, 2, 4]
    """
    words = [word.strip() for word in text.split(",")] if text.strip() else []
    found = [int(word) for word in words if re.fullmatch("[0-9]{1,6}", word)]
    if len(found) != len(words) or any(number < least for number in found):
        raise OvssError(f"{option} {text!r}: give whole numbers from {least} up, such as 1,2,4")
    return found


def fractions(text: str, option: str) -> tuple[float, ...]:
    """Numbers from 0 to 1 out of `"0.05,0.1"`; an empty text gives none.

    Raises:
        OvssError: Something else stands there.

    Example:
        >>> fractions("0.05, 0.1", "--blurs")
        (0.05, 0.1)
    """
    words = [word.strip() for word in text.split(",")] if text.strip() else []
    found = tuple(float(word) for word in words if re.fullmatch(r"[01]|[01]?\.[0-9]{1,9}", word))
    if len(found) != len(words) or any(number > 1 for number in found):
        raise OvssError(f"{option} {text!r}: give numbers from 0 to 1, such as 0.05,0.1")
    return found


def sizes_of(text: str) -> list[tuple[int, int]]:
    """Widths and heights out of `"500x375,640x480"`.

    Raises:
        OvssError: Something else stands there.

    Example:
        >>> sizes_of("500x375")
        [(500, 375)]
    """
    words = [
        re.fullmatch("([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", w.strip()) for w in text.split(",")
    ]
    if not all(words):
        raise OvssError(f"--size {text!r}: give width x height in pixels, such as 500x375")
    return [(int(word[1]), int(word[2])) for word in words if word]
