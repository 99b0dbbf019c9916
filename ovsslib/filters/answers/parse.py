"""Reading a model's answer to "which of these classes are in the image?", however it is written.

Asked for in one form, answers come in many: JSON, whole or cut off, within prose or a code fence;
the paper's `[8: 'boat', 57: 'water'], [90, 60]` with and without quotes, `%` signs, line breaks
and names beside the probabilities. What cannot be used is listed with a reason, never skipped.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from ovsslib.filters.answers.vocabulary import Vocabulary, squash


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
    """A piece of an answer that was left out or read against its letter, and why."""

    piece: str
    reason: str


@dataclass(frozen=True)
class Parsed:
    """What an answer says.

    Attributes:
        found: The classes, each once, in the answer's order.
        remarks: Everything in the answer that is not in `found` as it stands.
        readable: Whether it is an answer at all; an empty list is one, prose alone is not.
    """

    found: tuple[Guess, ...]
    remarks: tuple[Remark, ...]
    readable: bool


@dataclass(frozen=True)
class _Piece:
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
_CUT = "the answer breaks off here"
_OTHER = "names no class"
_SHOWN = 80  # characters of a piece that a remark repeats


def parse_answer(text: str, vocabulary: Vocabulary) -> Parsed:
    """Read an answer.

    Args:
        text: Of the model.
        vocabulary: The classes it was asked for.

    Returns:
        Classes and remarks; never raises for what the text holds.

    Example:
        >>> classes = Vocabulary.of(["cat", "hot dog"])
        >>> parse_answer("[1: 'cat', 2: 'hot dog', 7: 'ufo'], [95%, 60%, 80%]", classes)
        Parsed(found=(Guess(label=1, name='cat', probability=0.95),
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
    found: dict[int, Guess] = {}
    for piece in pieces:
        label, odd = vocabulary.resolve(piece.number, piece.name)
        if odd is not None:
            remarks.append(_remark(piece.text, odd))
        if label is None:
            continue
        value = piece.percent if piece.percent is None or fraction else piece.percent / 100
        if value is not None and not 0 <= value <= 1:
            remarks.append(_remark(piece.text, f"{piece.percent:g} is no probability"))
            value = None
        elif value is None:
            remarks.append(_remark(piece.text, "no probability"))
        if label in found:
            remarks.append(_remark(piece.text, "named twice; the higher probability counts"))
            if (value or 0) <= (found[label].probability or 0):
                continue
        found[label] = Guess(label, piece.name or vocabulary.names.get(label, ""), value)
    return tuple(found.values()), tuple(remarks)


def _from_lists(text: str, vocabulary: Vocabulary, remarks: list[Remark]) -> list[_Piece] | None:
    """The form `[numbers: names], [probabilities]`; None where there is no list."""
    groups = list(_GROUP.finditer(text))
    if not groups:
        return None
    full = [group for group in groups if group[1].strip(" \n,")]
    outside = _GROUP.sub(" ", text)
    if any(c.isalnum() for c in outside):
        remarks.append(_remark(outside.strip(" ,\n"), "text outside the lists"))
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
    if full[first][2] != "]" and len(full) == first + 1 and pieces:
        cut = pieces.pop()
        remarks.append(_remark(cut.text, _CUT))
    if len(full) == first + 1:
        return pieces
    return _with_values(pieces, full[first + 1], remarks)


def _split(text: str) -> list[_Piece]:
    """The pieces of a list of classes."""
    pieces = []
    for match in _PIECE.finditer(text):
        if not match[0].strip(" ,\n\t"):
            continue
        name = next((match[k] for k in ("single", "double", "bare") if match[k] is not None), "")
        whole = match[0].strip(" ,\n\t")
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
    values = [_value(text) for text in texts]
    names = [squash(piece.name) for piece in pieces]
    keys = [_key(text, names) for text in texts]
    if texts and all(key is not None for key in keys) and len(set(keys)) == len(keys):
        places: list[int] = [key for key in keys if key is not None]
    else:
        places = list(range(len(texts)))
    given: dict[int, float] = {}
    for text, place, value in zip(texts, places, values, strict=True):
        if place >= len(pieces):
            remarks.append(_remark(text, "a probability without a class"))
        elif value is None:
            remarks.append(_remark(text, "no probability can be read in it"))
        else:
            given[place] = value
            if len(_VALUE.findall(text)) > 1:
                remarks.append(_remark(text, f"several numbers; {value:g} counts"))
    return [
        _Piece(piece.text, piece.number, piece.name, given.get(i, piece.percent))
        for i, piece in enumerate(pieces)
    ]


def _value(text: str) -> float | None:
    """The number in `"90%"`, `"cat: 90"`, `"90% probability of class1"`."""
    found = _VALUE.findall(text)
    signed = [number for number, sign in found if sign]
    number = signed[0] if signed else found[-1][0] if found else None
    return None if number is None else float(number)


def _key(text: str, names: list[str]) -> int | None:
    """Which of the classes a probability names itself."""
    words = re.sub(r"\bprobability\b|\bof\b|\bin percentage\b", " ", _VALUE.sub(" ", text))
    key = squash(words)
    return names.index(key) if key in names and names.count(key) == 1 else None


def _from_lines(text: str, vocabulary: Vocabulary, remarks: list[Remark]) -> list[_Piece] | None:
    """One class a line, or a bare list of them; None where no line names a known class."""
    pieces: list[_Piece] = []
    other: list[str] = []
    for line in text.splitlines():
        found = _split(re.sub(r"^\s*[-*•]\s*", "", line))
        known = [p for p in found if vocabulary.find(p.name) is not None]
        if found and len(known) == len(found):
            # Numbers before lines count the lines as often as they number the classes.
            pieces += [_Piece(p.text, None, p.name, p.percent) for p in found]
        elif line.strip():
            other.append(line)
    if not pieces:
        return None
    remarks.extend(_remark(line, "text outside the list") for line in other)
    return pieces


def _from_json(text: str, remarks: list[Remark]) -> list[_Piece] | None:
    """The classes in a JSON answer, or in what is left of one; None where there is none."""
    from ovsslib.filters.answers.parse_json import json_items

    items, rest, cut = json_items(text)
    if items is None:
        return None
    if any(c.isalnum() for c in rest):
        remarks.append(_remark(rest, "text outside the JSON"))
    if cut:
        remarks.append(_remark(cut, _CUT))
    pieces = []
    for item in items:
        piece = _json_piece(item)
        if piece is None:
            remarks.append(_remark(json.dumps(item), _OTHER))
        else:
            pieces.append(piece)
    return pieces


def _json_piece(item: Any) -> _Piece | None:
    """One class of a JSON answer: an object, or a name alone."""
    text = item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)
    if isinstance(item, str):
        return _Piece(text, None, item)
    if not isinstance(item, dict):
        return None
    number = _first(item, ("id", "number", "index", "label"), (int,))
    name = _first(item, ("class", "name", "label"), (str,))
    percent = _first(item, ("probability", "confidence", "score", "percent"), (int, float, str))
    if number is None and name and name.isdecimal():
        number, name = int(name), ""
    if number is None and not name:
        return None
    return _Piece(text, number, name or "", _value(str(percent)) if percent is not None else None)


def _first(item: dict[str, Any], keys: tuple[str, ...], kinds: tuple[type, ...]) -> Any:
    """The first of an object's values under one of the keys that is of one of the kinds."""
    values = (item.get(key) for key in keys)
    return next((v for v in values if isinstance(v, kinds) and not isinstance(v, bool)), None)


def _remark(piece: str, reason: str) -> Remark:
    words = " ".join(piece.split())
    return Remark(words if len(words) <= _SHOWN else words[: _SHOWN - 1] + "…", reason)
