"""The prompt, and which of its tokens belong to which class name (step 2 of the paper)."""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ovsslib.errors import OvssError

if TYPE_CHECKING:
    from ovsslib.vlm.protocol import Tokens


@dataclass(frozen=True)
class Prompt:
    """One prompt and the tokens of its class names.

    Attributes:
        text: The prompt, such as `"A picture of cat sofa"`.
        tokens: The tokenised text, T tokens.
        classes: Index of each name within the list of classes the caller gave.
        spans: For each of these classes, the positions (0 to T-1) of its tokens.
    """

    text: str
    tokens: Tokens
    classes: tuple[int, ...]
    spans: tuple[tuple[int, ...], ...]


def check_classes(classes: Iterable[str], *, allow_empty: bool = False) -> tuple[str, ...]:
    """Class names as the user gave them, tidied.

    Args:
        classes: K names; runs of white space within a name become one space.
        allow_empty: Whether a list without names is fine (a filter may find no class).

    Returns:
        K names, all different (letter case and the way accents are encoded aside) and none of
        them empty.

    Raises:
        OvssError: The list is one string or has no order (a set), is empty, or holds an empty or a
            repeated name, or what is no text.

    Example:
        >>> check_classes(["cat", " traffic   light"])
        ('cat', 'traffic light')
    """
    if isinstance(classes, str):
        raise OvssError(f"classes must be a list of names, got the single string {classes!r}")
    if isinstance(classes, bytes | set | frozenset) or not isinstance(classes, Iterable):
        raise OvssError(f"classes must be a list of names, got {type(classes).__name__}")
    classes = tuple(classes)  # once: a generator has nothing to give the second time
    for position, name in enumerate(classes):
        if not isinstance(name, str):
            raise OvssError(f"class {position + 1} is not a string: {name!r:.80}")
        if re.search("[\ud800-\udfff]", name):
            raise OvssError(f"class {position + 1} is not UTF-8 text: {name!r:.80}; write it again")
    names = tuple(" ".join(name.split()) for name in classes)
    if not names and not allow_empty:
        raise OvssError("the list of classes is empty; give at least one class name")
    seen: dict[str, int] = {}
    for position, name in enumerate(names):
        if not name:
            raise OvssError(f"class {position + 1} has an empty name; remove it or name it")
        first = seen.setdefault(_key(name), position)
        if first != position:
            raise OvssError(
                f"class {name!r} is given twice (places {first + 1} and {position + 1}); "
                "give each class once"
            )
    return names


def _key(name: str) -> str:
    """What two spellings of one name have in common."""
    # Folded between two normalisations (Unicode, section 3.13): either undoes part of the other.
    folded = unicodedata.normalize("NFD", name).casefold()
    return unicodedata.normalize("NFC", folded)


def compose(names: Sequence[str], prefix: str, separator: str) -> tuple[str, list[tuple[int, int]]]:
    """Write a prompt, and say where in it each name stands.

    Args:
        names: Class names in prompt order.
        prefix: Words before the names.
        separator: What stands between two names.

    Returns:
        The text, and for each name its half-open character range.

    Example:
        >>> compose(["cat", "hot dog"], "A picture of", " ")
        ('A picture of cat hot dog', [(13, 16), (17, 24)])
    """
    text = f"{prefix} " if prefix else ""
    ranges = []
    for index, name in enumerate(names):
        text += separator if index else ""
        ranges.append((len(text), len(text) + len(name)))
        text += name
    return text, ranges


def token_span(tokens: Tokens, start: int, stop: int) -> tuple[int, ...]:
    """Positions of the tokens that hold characters `start` to `stop` of the text.

    Offsets are compared, not token texts: this works for any tokenizer, and for names that
    contain each other. A token that only touches the range (an empty one, or the space before a
    byte-level token's word) does not count.
    """
    return tuple(
        position
        for position, ((first, last), special) in enumerate(
            zip(tokens.offsets, tokens.special, strict=True)
        )
        if not special and max(first, start) < min(last, stop)
    )


def build_prompts(
    classes: Sequence[str],
    tokenize: Callable[[str], Tokens],
    *,
    prefix: str = "A picture of",
    separator: str = " ",
    spaces: bool = True,
    max_tokens: int = 512,
    per_prompt: int | None = None,
) -> list[Prompt]:
    """Put class names into as few prompts as the text encoder's positions allow.

    Args:
        classes: K different, non-empty names.
        tokenize: Splits a text into tokens.
        prefix: Words before the names.
        separator: What stands between two names.
        spaces: Whether spaces within names are kept (released code: removed).
        max_tokens: Most tokens in one prompt, special tokens included.
        per_prompt: Most names in one prompt; None sets no limit.

    Returns:
        Prompts whose classes, in order, are 0 to K-1. Empty for no classes.

    Raises:
        OvssError: A name has no token at all, does not fit into a prompt of its own, or shares
            a token with the next (a separator without a space may do that).

    Warns:
        UserWarning: A name holds characters that the vocabulary does not know.
    """
    names = [name if spaces else name.replace(" ", "") for name in classes]
    prompts: list[Prompt] = []
    start = 0
    while start < len(names):
        stop = min(len(names), start + (per_prompt or len(names)))
        text, ranges = compose(names[start:stop], prefix, separator)
        tokens = tokenize(text)
        while len(tokens.ids) > max_tokens:
            # Cut where the positions run out; names before the cut keep their token count. Tokens
            # count, not characters: a name may end in some that have no token.
            ends = [max(token_span(tokens, *where), default=0) for where in ranges]
            fitting = sum(end <= max_tokens - 2 for end in ends)
            stop = start + min(fitting, stop - start - 1)
            if stop <= start:
                raise OvssError(
                    f"class name {names[start][:60]!r} is too long for the text encoder's "
                    f"{max_tokens} positions; shorten it"
                )
            text, ranges = compose(names[start:stop], prefix, separator)
            tokens = tokenize(text)
        spans = tuple(token_span(tokens, *where) for where in ranges)
        _check_spans(names[start:stop], spans, tokens)
        prompts.append(Prompt(text, tokens, tuple(range(start, stop)), spans))
        start = stop
    return prompts


def _check_spans(names: Sequence[str], spans: Sequence[tuple[int, ...]], tokens: Tokens) -> None:
    """Raise for a name without tokens or with another's, warn of unknown characters."""
    for before, name, ahead, span in zip(names, names[1:], spans, spans[1:], strict=False):
        if set(ahead) & set(span):
            raise OvssError(
                f"class names {before!r} and {name!r} share a token; "
                "use a separator with a space in it"
            )
    for name, span in zip(names, spans, strict=True):
        if not span:
            raise OvssError(f"class name {name!r} holds nothing the model can read; rename it")
        if any(tokens.unknown[position] for position in span):
            warnings.warn(
                f"class name {name!r} holds characters outside the model's vocabulary; "
                "its map will be poor",
                stacklevel=2,
            )
