"""Reading a model's answer to "which of these classes are in the image?", however it is written.

Asked for in one form, answers come in many: JSON, whole or cut off, within prose or a code fence;
the paper's `[8: 'boat', 57: 'water'], [90, 60]` with and without quotes, `%` signs, line breaks
and names beside the probabilities. What cannot be used is listed with a reason, never skipped.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

from ovsslib.filters.answers.vocabulary import Vocabulary, squash
from ovsslib.lookup import fits


@dataclass(frozen=True)
class Guess:
    """A class that the answer names.

    Attributes:
        label: The data set's label.
        name: As in the answer.
        probability: 0..1; None where the answer gives none.
    """

    label: int
    name: str
    probability: float | None


@dataclass(frozen=True)
class Remark:
    """A piece of an answer that was left out, or not taken literally, and why."""

    piece: str
    reason: str

    @property
    def misfit(self) -> bool:
        """Whether number and name are not those of a class."""
        return self.reason.startswith(("no class", "number "))


@dataclass(frozen=True)
class Parsed:
    """What an answer says.

    Attributes:
        guesses: The classes, each once, in the answer's order.
        remarks: Everything in the answer that is not in `guesses` as it stands.
        readable: Whether it is an answer at all; an empty list is one, prose alone is not.
    """

    guesses: tuple[Guess, ...]
    remarks: tuple[Remark, ...]
    readable: bool


@dataclass(frozen=True)
class _Piece:
    """A class as the answer writes it: its text, and number, name and percentage in it."""

    text: str
    number: int | None
    name: str
    percent: float | None = None


_GROUP = re.compile(r"\[([^\[\]]*)(\]|(?=\[)|\Z)")
_PIECE = re.compile(
    r"\s*(?:(?P<number>\d+)\s*[:.)]\s*)?"
    r"(?:'(?P<single>.*?)'(?=\s*(?:,|$))|\"(?P<double>.*?)\"(?=\s*(?:,|$))|(?P<bare>[^,]*))"
    r"\s*(?:,|$)",
    re.DOTALL,
)
_INLINE = re.compile(r"^(?P<name>.*?\D)\s*[:=(–-]\s*(?P<percent>\d+(?:\.\d+)?)\s*(?P<sign>%?)\)?$")
_BETWEEN = re.compile(r",|(?<=%)[\s:;]+(?=\d)")  # between probabilities
_VALUE = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)\s*(%?)")
_OBJECT = re.compile(r"\{[^{}]*\}")
_FENCE = re.compile(r"```[a-zA-Z]*")
_CUT = "the answer breaks off here"
_OTHER = "does not name a class"
_SHOWN = 80  # characters of a piece that a remark repeats


def parse_answer(text: str, vocabulary: Vocabulary) -> Parsed:
    """Read an answer.

    Args:
        text: The model's answer.
        vocabulary: The classes it was asked for.

    Returns:
        Classes and remarks; never raises for what the text holds.

    Example:
        >>> classes = Vocabulary.of(["cat", "hot dog"])
        >>> parse_answer("[1: 'cat', 2: 'hot dog', 7: 'ufo'], [95%, 60%, 80%]", classes)
        Parsed(guesses=(Guess(label=1, name='cat', probability=0.95),
                        Guess(label=2, name='hot dog', probability=0.6)),
               remarks=(Remark(piece="7: 'ufo'", reason='no class has number 7'),),
               readable=True)
    """
    remarks: list[Remark] = []
    pieces = _from_json(text, remarks) if "{" in text else None
    if pieces is None:
        pieces = _from_lists(text, vocabulary, remarks)
    if pieces is None:
        pieces = _from_lines(text, vocabulary, remarks)
    if pieces is None:
        reason = "no list of classes in it" if text.strip() else "the answer is empty"
        return Parsed((), (_remark(text, reason),), readable=False)
    # Cut off before the first class, it does not say that there is none; nor does other JSON.
    readable = bool(pieces) or not {_CUT, _OTHER} & {remark.reason for remark in remarks}
    return Parsed(*_settle(pieces, vocabulary, remarks), readable)


def _settle(
    pieces: list[_Piece], vocabulary: Vocabulary, remarks: list[Remark]
) -> tuple[tuple[Guess, ...], tuple[Remark, ...]]:
    """Pieces to classes: each label once, each probability in 0..1."""
    values = [piece.percent for piece in pieces if piece.percent is not None]
    # Percent unless all are fractions: a lone 1 is one percent, 0.9 and 1 are not.
    fraction = any(v != int(v) for v in values) and all(v <= 1 for v in values)
    guesses: dict[int, Guess] = {}
    for piece in pieces:
        label, odd = vocabulary.resolve(piece.number, piece.name)
        if odd is not None:
            remarks.append(_remark(piece.text, odd))
        if label is None:
            continue
        value = piece.percent if piece.percent is None or fraction else piece.percent / 100
        if value is None:
            remarks.append(_remark(piece.text, "no probability"))
        elif not 0 <= value <= 1:
            remarks.append(_remark(piece.text, f"{piece.percent:g} is not a probability"))
            value = None
        if label in guesses:
            remarks.append(_remark(piece.text, "named twice; the higher probability counts"))
            if (value or 0) <= (guesses[label].probability or 0):
                continue
        guesses[label] = Guess(label, piece.name or vocabulary.names.get(label, ""), value)
    return tuple(guesses.values()), tuple(remarks)


def _from_lists(text: str, vocabulary: Vocabulary, remarks: list[Remark]) -> list[_Piece] | None:
    """The form `[numbers: names], [probabilities]`; None where there is no list."""
    groups = list(_GROUP.finditer(text))
    if not groups:
        return None
    outside = _GROUP.sub(" ", text)
    if any(c.isalnum() for c in outside):
        remarks.append(_remark(outside.strip(" ,\n"), "text outside the lists"))
    full = [group for group in groups if group[1].strip(" \n,")]
    if not full:
        return []
    known = [
        any(vocabulary.resolve(p.number, p.name)[0] is not None for p in _split(group[1]))
        for group in full
    ]
    first = known.index(True) if any(known) else 0
    for group in [*full[:first], *full[first + 2 :]]:
        remarks.append(_remark(group[0], "a list that is neither classes nor probabilities"))
    pieces = _split(full[first][1])
    if len(full) > first + 1:
        return _with_values(pieces, full[first + 1], remarks)
    if full[first][2] != "]" and pieces:
        remarks.append(_remark(pieces.pop().text, _CUT))
    return pieces


def _split(text: str) -> list[_Piece]:
    """The pieces of a list of classes."""
    pieces = []
    for match in _PIECE.finditer(text):
        whole = match[0].strip(" ,\n\t")
        if not whole:
            continue
        name = next((match[k] for k in ("single", "double", "bare") if match[k] is not None), "")
        number = int(match["number"]) if match["number"] else None
        percent = None
        if match["bare"] is not None:
            inline = _INLINE.match(name.strip())
            if inline and (number is None or inline["sign"]):
                name, percent = inline["name"], float(inline["percent"])
            elif number is None and name.strip().isdigit():
                name, number = "", int(name)
        pieces.append(_Piece(whole, number, name.strip(" '\"\n\t`*"), percent))
    return pieces


def _with_values(pieces: list[_Piece], group: re.Match[str], remarks: list[Remark]) -> list[_Piece]:
    """Pieces with the probabilities of the second list, by name where it gives names."""
    texts = [text.strip() for text in _BETWEEN.split(group[1]) if text.strip()]
    if group[2] != "]" and texts:
        remarks.append(_remark(texts.pop(), _CUT))
    names = [squash(piece.name) for piece in pieces]
    keys = [_key(text, names) for text in texts]
    by_name = None not in keys and len(set(keys)) == len(keys)
    given: dict[int, float] = {}
    for place, (text, key) in enumerate(zip(texts, keys, strict=True)):
        index = key if by_name and key is not None else place
        value = _value(text)
        if index >= len(pieces):
            remarks.append(_remark(text, "a probability without a class"))
        elif value is None:
            remarks.append(_remark(text, "no probability can be read in it"))
        else:
            given[index] = value
            if len(_VALUE.findall(text)) > 1:
                remarks.append(_remark(text, f"several numbers; {value:g} counts"))
    return [replace(piece, percent=given.get(i, piece.percent)) for i, piece in enumerate(pieces)]


def _value(text: str) -> float | None:
    """The number in `"90%"`, `"cat: 90"`, `"90% probability of class1"`."""
    numbers = _VALUE.findall(text)
    signed = [number for number, sign in numbers if sign]
    number = signed[0] if signed else numbers[-1][0] if numbers else None
    return None if number is None else float(number)


def _key(text: str, names: list[str]) -> int | None:
    """Which of the classes a probability names itself."""
    key = squash(re.sub(r"\bprobability\b|\bof\b|\bin percentage\b", " ", _VALUE.sub(" ", text)))
    return names.index(key) if names.count(key) == 1 else None


def _from_lines(text: str, vocabulary: Vocabulary, remarks: list[Remark]) -> list[_Piece] | None:
    """One class a line, or a bare list of them; None where no line names a known class."""
    pieces: list[_Piece] = []
    other: list[str] = []
    for line in text.splitlines():
        parts = _split(re.sub(r"^\s*[-*•]\s*", "", line))
        if parts and all(vocabulary.find(part.name) is not None for part in parts):
            # Numbers before lines count the lines as often as they number the classes.
            pieces += [replace(part, number=None) for part in parts]
        elif line.strip():
            other.append(line)
    if not pieces:
        return None
    remarks.extend(_remark(line, "text outside the list") for line in other)
    return pieces


def _from_json(text: str, remarks: list[Remark]) -> list[_Piece] | None:
    """The classes in a JSON answer, or in what is left of one; None where there is none."""
    text = _FENCE.sub(" ", text)
    start = re.search(r"[\[{]", text)
    if start is None:
        return None
    around, body = text[: start.start()], text[start.start() :]
    try:
        value, end = json.JSONDecoder().raw_decode(body)
        items = _unpack(value)
    except (ValueError, RecursionError):
        items = None
    cut = ""
    if items is not None:
        around += " " + body[end:]
    else:  # no JSON as a whole: the complete objects in it
        items, end = [], 0
        for match in _OBJECT.finditer(body):
            with contextlib.suppress(ValueError):
                items.append(json.loads(match[0]))
                end = match.end()
        if not items and not re.match(r'.(\s*["\[{}]|\Z)', body):
            return None
        cut = body[end:].strip(" \n\t,")
    if any(c.isalnum() for c in around):
        remarks.append(_remark(around, "text outside the JSON"))
    if cut.strip("]} \n"):
        remarks.append(_remark(cut, _CUT))
    pieces = []
    for item in items:
        piece = _json_piece(item)
        if piece is None:
            remarks.append(_remark(json.dumps(item), _OTHER))
        else:
            pieces.append(piece)
    return pieces


def _unpack(value: Any) -> list[Any] | None:
    """The items of a decoded answer, whichever way it is nested: objects or names, one a class."""
    if isinstance(value, list):
        return value
    if any(isinstance(value.get(key), str) for key in ("name", "class")):
        return [value]
    lists = {key: item for key, item in value.items() if isinstance(item, list)}
    if not lists:
        inner = [_unpack(item) for item in value.values() if isinstance(item, dict)]
        plain = {k: v for k, v in value.items() if isinstance(v, int | float | str)}
        named = [{"name": k, "probability": v} for k, v in plain.items()]
        return next(filter(None, inner), named if named or not value else None)
    names = next(iter(lists.values()))
    values = next((v for k, v in lists.items() if k.startswith(("prob", "conf"))), None)
    if values is None or any(isinstance(item, Mapping) for item in names):
        return names
    pairs = zip_longest(names, values[: len(names)])
    return [{"name": name, "probability": value} for name, value in pairs]


def _json_piece(item: Any) -> _Piece | None:
    """One class of a JSON answer: an object, or a name alone."""
    if isinstance(item, str):
        return _Piece(item, None, item)
    if not isinstance(item, dict):
        return None
    number = _first(item, ("id", "number", "index", "label"), int)
    name = _first(item, ("class", "name", "label"), str)
    percent = _first(item, ("probability", "confidence", "score", "percent"), int | float | str)
    if number is None and name and name.isdecimal():
        number, name = int(name), ""
    if number is None and not name:
        return None
    text = json.dumps(item, ensure_ascii=False)
    return _Piece(text, number, name or "", None if percent is None else _value(str(percent)))


def _first(item: dict[str, Any], keys: tuple[str, ...], kind: Any) -> Any:
    """The first of an object's values under one of the keys that is of the kind."""
    return next((v for key in keys if fits(v := item.get(key), kind)), None)


def _remark(piece: str, reason: str) -> Remark:
    words = " ".join(piece.split())
    return Remark(words if len(words) <= _SHOWN else words[: _SHOWN - 1] + "…", reason)
