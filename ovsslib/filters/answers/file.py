"""The file of a model's answers: one line of JSON per image, only ever appended to.

Every line holds all that was asked and of which model, so that a file can be cut, joined and read
by other programs. A process that is killed loses the answers in flight; a line it left half written
is reported when the file is read, and its image is asked about again.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from ovsslib.errors import OvssError
from ovsslib.filters.answers.parse import Guess, Parsed, Remark
from ovsslib.filters.base import MOST
from ovsslib.io.files import make_folder, only_one
from ovsslib.io.json import digest
from ovsslib.redact import redact

Usage = tuple[int, int] | None
"""Tokens read and written; None where the server does not say."""
THRESHOLD = 0.7
"""Probability that a class must exceed (the paper's)."""
_BEGINS = b'{"dataset": "'


@dataclass(frozen=True)
class Source:
    """What all answers of a file have in common.

    Attributes:
        dataset: Name of the data set.
        split: Name of the split.
        model: Name of the model, as its server calls it.
        prompt: Hash of all that was sent beside the image, and of how that was prepared.
        server: Address of the server.
    """

    dataset: str
    split: str
    model: str
    prompt: str
    server: str


@dataclass(frozen=True)
class Answer:
    """One image's answer.

    Attributes:
        image: Name of the image.
        raw: The model's answer.
        parsed: Its classes.
        usage: Tokens of all that was asked about the image.
    """

    image: str
    raw: str
    parsed: Parsed
    usage: Usage = None


@dataclass(frozen=True)
class Answers:
    """An answer file.

    Attributes:
        path: Of the file.
        source: What its lines have in common; None for a file without answers.
        by_image: Image -> its last answer.
        damaged: Numbers of lines that cannot be read, from 1.
    """

    path: Path
    source: Source | None = None
    by_image: dict[str, Answer] = field(default_factory=dict)
    damaged: tuple[int, ...] = ()

    @property
    def digest(self) -> str:
        """12 hex digits of what the answers say, whatever the order they came in."""
        guesses = {
            name: [[g.label, g.probability] for g in answer.parsed.guesses]
            for name, answer in self.by_image.items()
        }
        return digest(guesses, 12)

    @property
    def unreadable(self) -> list[str]:
        """Images whose answer holds no list of classes."""
        return [name for name, answer in self.by_image.items() if not answer.parsed.readable]


def keep(
    guesses: Sequence[Guess], threshold: float = THRESHOLD, most: int = MOST
) -> tuple[int, ...]:
    """Labels of the classes that count.

    Args:
        guesses: Classes with probabilities.
        threshold: 0..1, to be exceeded; 0 also keeps classes without a probability.
        most: At most so many, the likeliest.

    Returns:
        Labels in rising order.

    Example:
        >>> keep([Guess(3, "cat", 0.9), Guess(1, "dog", 0.7), Guess(2, "cow", None)])
        (3,)
    """
    pairs = [(guess.probability or 0.0, guess.label) for guess in guesses]
    likely = [pair for pair in pairs if threshold <= 0 or pair[0] > threshold]
    likely.sort(key=lambda pair: -pair[0])
    return tuple(sorted(label for _, label in likely[:most]))


def read_answers(path: str | os.PathLike[str], *, missing: bool = False) -> Answers:
    """Read an answer file.

    Args:
        path: Of the file.
        missing: Whether a file that is not there counts as one without answers.

    Raises:
        OvssError: The file is missing, is not an answer file, or mixes data sets, models or
            prompts.
    """
    path = Path(path)
    if not path.is_file():
        if missing and not path.exists():
            return Answers(path)
        raise OvssError(f"{path}: no such answer file; write one with `ovss filter ask` or import")
    source: Source | None = None
    by_image: dict[str, Answer] = {}
    damaged: list[int] = []
    try:
        data = path.read_bytes()
    except OSError as error:
        raise OvssError(f"{path}: cannot be read ({error.strerror})") from error
    if b"\0" in data[:8]:  # appending to it would mix encodings
        raise OvssError(f"{path}: not text in UTF-8 (UTF-16?); save the file as UTF-8")
    lines = data.removeprefix(codecs.BOM_UTF8).split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            where, answer = _decode(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError):
            damaged.append(number)
            continue
        if source is not None and where != source:
            raise OvssError(f"{path}, line {number}: {_difference(source, where)}; split the file")
        source = where
        by_image[answer.image] = answer
    # A file is not refused for a first line that a killed process left half written.
    torn = len(damaged) == 1 and lines[-1].startswith(_BEGINS[: len(lines[-1])])
    if damaged and not by_image and not (lines[-1] and torn):
        raise OvssError(
            f"{path}: holds no answers; released files are read by `ovss filter import`"
        )
    return Answers(path, source, by_image, tuple(damaged))


class UnwritableError(OvssError):
    """The answer file cannot be written: asking on would be money lost."""


class AnswerWriter:
    """Appends answers to a file, from any thread; a context manager that keeps others out.

    Args:
        path: Of the file; made when missing.
        source: What all its lines have in common.

    Raises:
        OvssError: Another process writes the file, it holds other answers, or it cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], source: Source) -> None:
        self.path = Path(path)
        self.source = source
        self._threads = threading.Lock()
        self._file: BinaryIO | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> AnswerWriter:
        make_folder(self.path.parent)
        try:
            with contextlib.ExitStack() as stack:
                # Unbuffered: a line is with the system, whole, before the next is begun.
                file = stack.enter_context(open(self.path, "a+b", buffering=0))
                stack.enter_context(only_one(self.path, "is writing its answers"))
                source = read_answers(self.path).source
                if source is not None and source != self.source:
                    what = _difference(source, self.source)
                    raise OvssError(f"{self.path}: {what}; give another file")
                file.seek(0, os.SEEK_END)
                if file.tell() and not self.path.read_bytes().endswith(b"\n"):
                    file.write(b"\n")  # what a killed process left half written
                self._file = file
                self._stack = stack.pop_all()
        except OSError as error:
            raise self._unwritable(error) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._file = None
        self._stack.close()

    def write(self, *answers: Answer) -> None:
        """Append answers; on return they are on the disk.

        Raises:
            OvssError: The file cannot be written.
        """
        lines = (json.dumps(_encode(self.source, answer), ensure_ascii=False) for answer in answers)
        data = "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")
        with self._threads:
            if self._file is None:
                raise OvssError(f"{self.path}: is not open; use the writer in a with statement")
            try:
                while data:
                    data = data[self._file.write(data) :]
                os.fsync(self._file.fileno())
            except OSError as error:
                raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> UnwritableError:
        why = error.strerror or error
        return UnwritableError(
            f"{self.path}: cannot be written ({why}); mend its rights or space, then run this again"
        )


def _difference(source: Source, other: Source) -> str:
    """The first field in which two sources differ, in words."""
    pairs = [(key, value, getattr(other, key)) for key, value in asdict(source).items()]
    key, value, new = next(pair for pair in pairs if pair[1] != pair[2])
    return f"holds answers with {key} {value!r}, not {new!r}"


def _encode(source: Source, answer: Answer) -> dict[str, Any]:
    """An answer as a line of the file."""
    parsed = answer.parsed
    return {
        **asdict(source),
        "image": answer.image,
        "raw": redact(answer.raw),
        "labels": [guess.label for guess in parsed.guesses],
        "names": [guess.name for guess in parsed.guesses],
        "probabilities": [guess.probability for guess in parsed.guesses],
        "remarks": [[redact(remark.piece), redact(remark.reason)] for remark in parsed.remarks],
        "readable": parsed.readable,
        "usage": answer.usage,
    }


def _decode(line: dict[str, Any]) -> tuple[Source, Answer]:
    """A line of the file as an answer; some error where it is something else."""
    source = Source(**{key: str(line[key]) for key in Source.__dataclass_fields__})
    columns = (line["labels"], line["names"], line["probabilities"])
    guesses = tuple(Guess(int(k), str(name), p) for k, name, p in zip(*columns, strict=True))
    remarks = tuple(Remark(piece, reason) for piece, reason in line["remarks"])
    parsed = Parsed(guesses, remarks, bool(line["readable"]))
    usage = line["usage"]
    return source, Answer(line["image"], line["raw"], parsed, tuple(usage) if usage else None)
