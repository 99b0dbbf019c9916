"""Prompts, class names and their token spans."""

from __future__ import annotations

import string
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.implementations import BertWordPieceTokenizer

from ovsslib.errors import OvssError
from ovsslib.pnp.prompt import build_prompts, check_classes, compose, token_span
from ovsslib.vlm.protocol import Tokens

LETTERS = string.ascii_lowercase
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
names_strategy = st.lists(
    st.lists(st.text(LETTERS, min_size=1, max_size=6), min_size=1, max_size=3).map(" ".join),
    min_size=1,
    max_size=8,
    unique=True,
)


class WordPiece:
    """A real WordPiece tokenizer over the given words, letters and letter continuations."""

    def __init__(self, words: list[str], letters: str = LETTERS) -> None:
        entries = [*SPECIAL, "a", "picture", "of", *words, *letters, *("##" + c for c in letters)]
        vocabulary = {entry: index for index, entry in enumerate(dict.fromkeys(entries))}
        self.tokenizer = BertWordPieceTokenizer(vocabulary)
        self.unk = vocabulary["[UNK]"]

    def __call__(self, text: str) -> Tokens:
        out = self.tokenizer.encode(text)
        return Tokens(
            tuple(out.ids),
            tuple(out.offsets),
            tuple(map(bool, out.special_tokens_mask)),
            tuple(token == self.unk for token in out.ids),
        )


def byte_level(text: str) -> Tokens:
    """A byte-level tokenizer as RoBERTa's (single bytes, no merges), offsets with the space."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {entry: index for index, entry in enumerate(["<s>", "</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 1), ("<s>", 0), trim_offsets=False, add_prefix_space=False
    )
    out = tokenizer.encode(text)
    return Tokens(
        tuple(out.ids),
        tuple(out.offsets),
        tuple(map(bool, out.special_tokens_mask)),
        tuple(False for _ in out.ids),
    )


def text_of(tokens: Tokens, text: str, span: tuple[int, ...]) -> str:
    return "".join(text[slice(*tokens.offsets[position])] for position in span)


@given(names_strategy, st.data())
@settings(max_examples=60, deadline=None)
def test_spans_spell_the_names(names: list[str], data: st.DataObject) -> None:
    words = sorted({word for name in names for word in name.split()})
    known = data.draw(st.lists(st.sampled_from(words), unique=True))
    (prompt,) = build_prompts(names, WordPiece(known))
    assert prompt.classes == tuple(range(len(names)))
    for name, span in zip(names, prompt.spans, strict=True):
        assert text_of(prompt.tokens, prompt.text, span) == name.replace(" ", "")
    used = [position for span in prompt.spans for position in span]
    # [CLS] an image of ... [SEP]: every token after the prompt's words belongs to one name.
    assert used == list(range(4, len(prompt.tokens.ids) - 1))


@given(names_strategy)
@settings(max_examples=30, deadline=None)
def test_spans_of_byte_level_tokens(names: list[str]) -> None:
    (prompt,) = build_prompts(names, byte_level)
    for name, span in zip(names, prompt.spans, strict=True):
        assert text_of(prompt.tokens, prompt.text, span).replace(" ", "") == name.replace(" ", "")


def test_names_within_names() -> None:
    names = ["light", "traffic light", "street light", "traffic"]
    (prompt,) = build_prompts(names, WordPiece(["traffic", "light", "street"]))
    assert prompt.spans == ((4,), (5, 6), (7, 8), (9,))


@given(names_strategy, st.integers(12, 30), st.one_of(st.none(), st.integers(1, 3)))
@settings(max_examples=60, deadline=None)
def test_rows_cover_every_class_once(names: list[str], limit: int, most: int | None) -> None:
    names = [name.replace(" ", "")[:6] for name in names]
    names = list(dict.fromkeys(names))
    prompts = build_prompts(names, WordPiece([]), max_tokens=limit, per_prompt=most)
    assert [index for prompt in prompts for index in prompt.classes] == list(range(len(names)))
    for prompt in prompts:
        assert len(prompt.tokens.ids) <= limit
        assert len(prompt.classes) <= (most or len(names))
        for index, span in zip(prompt.classes, prompt.spans, strict=True):
            assert text_of(prompt.tokens, prompt.text, span) == names[index]


def test_rows_are_as_few_as_fit() -> None:
    names = [f"{first}{second}" for first in "abcd" for second in "efgh"]
    prompts = build_prompts(names, WordPiece(names), max_tokens=4 + 1 + 8)
    assert [len(prompt.classes) for prompt in prompts] == [8, 8]


def test_sixty_classes_in_one_prompt() -> None:
    names = [f"{a}{b}" for a in "abcdefgh" for b in "ijklmnop"][:60]
    (prompt,) = build_prompts(names, WordPiece(names))
    assert len(prompt.spans) == 60


def test_prompt_text_separator_and_spaces() -> None:
    names = ["traffic light", "cat"]
    (plain,) = build_prompts(names, WordPiece([]))
    assert plain.text == "A picture of traffic light cat"
    (joined,) = build_prompts(names, WordPiece([]), spaces=False, prefix="a", separator=", ")
    assert joined.text == "a trafficlight, cat"
    assert text_of(joined.tokens, joined.text, joined.spans[1]) == "cat"
    (bare,) = build_prompts(names, WordPiece([]), prefix="")
    assert bare.text == "traffic light cat"


def test_no_classes_no_prompt() -> None:
    assert build_prompts([], WordPiece([])) == []


def test_unknown_characters_warn_and_work() -> None:
    with pytest.warns(UserWarning, match="'猫'"):
        (prompt,) = build_prompts(["cat", "猫"], WordPiece(["cat"]))
    assert prompt.spans == ((4,), (5,))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build_prompts(["cat"], WordPiece(["cat"]))


def test_name_without_a_token() -> None:
    with pytest.raises(OvssError, match="holds nothing the model can read"):
        build_prompts(["cat", "\u200b"], WordPiece([]))


def test_name_longer_than_the_text_encoder() -> None:
    with pytest.raises(OvssError, match="too long for the text encoder's 20 positions"):
        build_prompts(["cat", "x" * 40], WordPiece([]), max_tokens=20)


def test_accents_and_capitals_keep_their_place() -> None:
    (prompt,) = build_prompts(["Café", "CAT"], WordPiece(["cafe", "cat"]))
    assert prompt.spans == ((4,), (5,))


def test_compose_gives_exact_ranges() -> None:
    text, ranges = compose(["b", "a b", "b"], "x", ", ")
    assert [text[slice(*place)] for place in ranges] == ["b", "a b", "b"]


def test_token_span_skips_special_and_empty_tokens() -> None:
    tokens = Tokens(
        (1, 2, 3, 4), ((0, 0), (0, 3), (3, 3), (0, 3)), (True, False, False, True), (False,) * 4
    )
    assert token_span(tokens, 0, 3) == (1,)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([], "list of classes is empty"),
        ("cat", "must be a list of names, got the single string 'cat'"),
        (["cat", "  "], "class 2 has an empty name"),
        (["cat", "dog", "Cat"], r"'Cat' is given twice \(places 1 and 3\)"),
        (["hot dog", "hot  dog"], "given twice"),
        (["cat", 3], "class 2 is not a string: 3"),
        (["cat", b"dog"], "class 2 is not a string: b'dog'"),
        (None, "must be a list of names, got NoneType"),
        (3, "must be a list of names, got int"),
        (b"cat", "must be a list of names, got bytes"),
        ({"cat", "dog"}, "must be a list of names, got set"),
        (["cat", "\udcff"], r"class 2 is not UTF-8 text: '\\udcff'"),
    ],
)
def test_bad_classes(classes: list[str], message: str) -> None:
    with pytest.raises(OvssError, match=message):
        check_classes(classes)


def test_empty_list_from_a_filter() -> None:
    assert check_classes([], allow_empty=True) == ()


def test_names_are_taken_once() -> None:
    """A generator gives them once, and a filter may give any list."""
    assert check_classes(name for name in ["cat", "dog"]) == ("cat", "dog")
    assert check_classes(dict.fromkeys(["dog", "cat"])) == ("dog", "cat")
