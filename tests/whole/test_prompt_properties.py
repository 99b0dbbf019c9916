"""Prompts for any vocabulary and any names: found by search, not thought of."""

from __future__ import annotations

import itertools
import string
import unicodedata
import warnings
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.implementations import BertWordPieceTokenizer

from ovsslib.errors import OvssError
from ovsslib.pnp.prompt import Prompt, build_prompts, check_classes
from ovsslib.vlm.protocol import Tokens

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
# Letters with accents (whole, and as combining marks), CJK, kana with voicing marks, Hangul,
# Hebrew and Arabic with vowel signs, Devanagari, emoji with joiner, tone and selector, ligatures,
# letters whose lower case is longer, signs, digits, and characters without width.
SIGNS = (
    "abcxyzABÉéñßİǅﬁ"
    + "e\u0301o\u0308\u0323"
    + "猫車が\u3099한글"
    + "כלבש\u05c1קטة\u064bسيارة"
    + "नि\u093f"
    "🐈👩\u200d🚀👍🏽❤\ufe0f" + "0７½-'’.,&/·" + "\u200b\u00ad\ufeff\u200f"
)
words_strategy = st.text(SIGNS, min_size=1, max_size=6)
# Few letters, so that names contain each other and begin alike.
close_strategy = st.text("abé", min_size=1, max_size=4)
name_strategy = st.lists(
    st.one_of(words_strategy, close_strategy), min_size=1, max_size=3
).map(" ".join)  # fmt: skip
names_strategy = st.lists(name_strategy, min_size=1, max_size=10)
Tokenize = Callable[[str], Tokens]


def wordpiece(pieces: list[str], letters: str) -> Tokenize:
    """BERT's tokenizer with these pieces, as beginnings and as continuations, and letters."""
    whole = ["a", "picture", "of", *pieces, *letters]
    entries = dict.fromkeys([*SPECIAL, *whole, *(f"##{piece}" for piece in whole)])
    tokenizer = BertWordPieceTokenizer({entry: i for i, entry in enumerate(entries)})

    def tokenize(text: str) -> Tokens:
        out = tokenizer.encode(text)
        special = tuple(map(bool, out.special_tokens_mask))
        return Tokens(tuple(out.ids), tuple(out.offsets), special, tuple(i == 1 for i in out.ids))

    return tokenize


def byte_level(pairs: list[tuple[str, str]], trim: bool) -> Tokenize:
    """RoBERTa's tokenizer, with merges of the given pairs of symbols in the given order."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = list(dict.fromkeys(pairs))
    entries = dict.fromkeys(["<s>", "</s>", *alphabet, *(a + b for a, b in merges)])
    vocabulary = {entry: index for index, entry in enumerate(entries)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 1), ("<s>", 0), trim_offsets=trim, add_prefix_space=False
    )

    def tokenize(text: str) -> Tokens:
        out = tokenizer.encode(text)
        special = tuple(map(bool, out.special_tokens_mask))
        return Tokens(tuple(out.ids), tuple(out.offsets), special, (False,) * len(out.ids))

    return tokenize


def symbols(text: str) -> list[str]:
    """A text as the symbols that byte-level merges are made of."""
    split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return list(split.pre_tokenize_str(unicodedata.normalize("NFC", text))[0][0])


@st.composite
def tokenizers(draw: st.DrawFn, names: list[str]) -> Tokenize:
    """A tokenizer with random pieces: of the names, of the whole prompt, across their borders."""
    if draw(st.booleans()):
        stripped = unicodedata.normalize("NFD", "".join(names).lower())
        parts = st.text(stripped.replace(" ", "") or "a", min_size=1, max_size=4)
        letters = draw(st.sampled_from(["", string.ascii_lowercase, stripped]))
        return wordpiece(draw(st.lists(parts, max_size=12)), letters)
    text = symbols(f"A picture of {' '.join(names)}, ")
    pairs: list[tuple[str, str]] = []
    for _ in range(draw(st.integers(0, 12))):
        if len(text) < 2:
            break
        # A merge, carried out everywhere: later ones join what earlier ones made.
        start = draw(st.integers(0, len(text) - 2))
        pair = (text[start], text[start + 1])
        pairs.append(pair)
        joined: list[str] = []
        for symbol in text:
            if joined and (joined[-1], symbol) == pair:
                joined[-1] += symbol
            else:
                joined.append(symbol)
        text = joined
    return byte_level(pairs, trim=draw(st.booleans()))


def distinct(names: list[str]) -> list[str]:
    """The names that check_classes lets pass, tidied."""
    kept: list[str] = []
    for name in names:
        try:
            kept = list(check_classes([*kept, name]))
        except OvssError:
            continue
    return kept


def quietly(names: list[str], tokenize: Tokenize, **options: object) -> list[Prompt]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # characters outside the vocabulary
        return build_prompts(names, tokenize, **options)  # type: ignore[arg-type]


def tokens_of(name: str, tokenize: Tokenize) -> int:
    """How many tokens a name has behind another word."""
    return len(tokenize(f"of {name}").ids) - len(tokenize("of").ids)


def silent(character: str) -> bool:
    """Whether a tokenizer may leave a character without token: marks, and what has no width."""
    return unicodedata.category(character) in ("Mn", "Cf", "Zs", "Cn")


def check_prompts(prompts: list[Prompt], names: list[str], most_tokens: int) -> None:
    """Every class in one prompt, its span spells its name, spans share no token."""
    assert [index for prompt in prompts for index in prompt.classes] == list(range(len(names)))
    for prompt in prompts:
        assert len(prompt.tokens.ids) <= most_tokens
        used = [position for span in prompt.spans for position in span]
        assert used == sorted(set(used))
        # The text itself is whole: nothing was cut off in silence.
        shown = [names[index] for index in prompt.classes]
        lead = "A picture of "
        assert prompt.text in (lead + " ".join(shown), lead + ", ".join(shown))
        separator = " " if prompt.text == lead + " ".join(shown) else ", "
        at = len(lead)
        for index, span in zip(prompt.classes, prompt.spans, strict=True):
            name = names[index]
            start, at = at, at + len(name)
            covered = {c for position in span for c in range(*prompt.tokens.offsets[position])}
            # Every character of the name that the tokenizer reads, and none of another name.
            missing = [c for i, c in enumerate(name, start) if i not in covered]
            assert all(map(silent, missing)), (name, missing)
            outside = [prompt.text[i] for i in covered - set(range(start, at))]
            assert all(c in " ," for c in outside), (name, outside)
            at += len(separator)


@given(st.data(), names_strategy, st.sampled_from([" ", ", "]))
@settings(max_examples=150, deadline=None)
def test_any_names_in_any_vocabulary(data: st.DataObject, names: list[str], separator: str) -> None:
    names = distinct(names)
    tokenize = data.draw(tokenizers(names))
    # A name of nothing but marks and characters without width may have no token.
    known = [name for name in names if tokens_of(name, tokenize)]
    assert all(map(silent, "".join(set(names) - set(known))))
    if known != names:
        with pytest.raises(OvssError, match="holds nothing the model can read"):
            quietly(names, tokenize, separator=separator)
    prompts = quietly(known, tokenize, separator=separator)
    assert len(prompts) == bool(known)
    check_prompts(prompts, known, 512)


@given(st.data(), names_strategy, st.integers(6, 40), st.one_of(st.none(), st.integers(1, 4)))
@settings(max_examples=150, deadline=None)
def test_more_than_the_text_encoder_takes(
    data: st.DataObject, names: list[str], limit: int, most: int | None
) -> None:
    names = distinct(names)
    tokenize = data.draw(tokenizers(names))
    names = [name for name in names if tokens_of(name, tokenize)]

    def alone(some: list[str]) -> int:
        return len(quietly(some, tokenize)[0].tokens.ids)

    fits = [alone([name]) <= limit for name in names]
    if not all(fits):
        with pytest.raises(OvssError, match=f"too long for the text encoder's {limit} positions"):
            quietly(names, tokenize, max_tokens=limit, per_prompt=most)
        return
    prompts = quietly(names, tokenize, max_tokens=limit, per_prompt=most)
    check_prompts(prompts, names, limit)
    for prompt, following in itertools.pairwise(prompts):
        assert len(prompt.classes) <= (most or len(names))
        # No prompt ends while the next name would have had room.
        more = [names[index] for index in (*prompt.classes, following.classes[0])]
        assert len(prompt.classes) == most or alone(more) > limit


@given(names_strategy, st.data())
@settings(max_examples=100, deadline=None)
def test_a_repeated_name_is_an_error_however_it_is_written(
    names: list[str], data: st.DataObject
) -> None:
    names = distinct(names)
    place = data.draw(st.integers(0, len(names) - 1))
    write = data.draw(
        st.sampled_from(
            [
                str,
                str.upper,
                str.swapcase,
                lambda name: f"  {name}\t",
                lambda name: name.replace(" ", "\u3000 "),
                lambda name: unicodedata.normalize("NFC", name),
                lambda name: unicodedata.normalize("NFD", name),
            ]
        )
    )
    again = write(names[place])
    where = data.draw(st.integers(0, len(names)))
    with pytest.raises(OvssError, match="is given twice"):
        check_classes([*names[:where], again, *names[where:]])


@pytest.mark.parametrize("trim", [True, False])
def test_names_within_names_of_byte_level_tokens(trim: bool) -> None:
    tokenize = byte_level([("d", "o"), ("do", "g"), ("Ġ", "dog"), ("h", "o"), ("ho", "t")], trim)
    (prompt,) = build_prompts(["dog", "hot dog", "hot", "dogs"], tokenize)
    texts = [
        [prompt.text[slice(*prompt.tokens.offsets[i])].strip() for i in s] for s in prompt.spans
    ]
    assert [[text for text in row if text] for row in texts] == [
        ["dog"], ["hot", "dog"], ["hot"], ["dog", "s"]
    ]  # fmt: skip


def test_a_name_that_ends_in_nothing_still_fits() -> None:
    """The last position is the name's last token, though its last character has none."""
    tokenize = wordpiece(["ab", "cd"], "")
    names = ["ab\u200b", "cd\u0301"]
    prompts = build_prompts(names, tokenize, max_tokens=len("[CLS] a picture of ab [SEP]".split()))
    check_prompts(prompts, names, 6)
    assert [prompt.classes for prompt in prompts] == [(0,), (1,)]


def test_names_that_would_share_a_token_are_refused() -> None:
    tokenize = wordpiece(["hotdog", "hot", "dog"], string.ascii_lowercase)
    with pytest.raises(OvssError, match="'hot' and 'dog' share a token"):
        build_prompts(["hot", "dog"], tokenize, separator="")
    assert len(build_prompts(["hot", "dog"], tokenize, separator="-")[0].spans) == 2
