"""Which tokens stand for a name, with BridgeTower's byte-level tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ovsslib.pnp.prompt import build_prompts
from ovsslib.vlm.bridgetower import BridgeTowerMatcher, load_bridgetower
from support.tiny_bridgetower import make_model, make_tokenizer, tiny_bridgetower  # noqa: F401 - a fixture among them

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def matcher(tiny_bridgetower: Path) -> BridgeTowerMatcher:  # noqa: F811
    return load_bridgetower(tiny_bridgetower, "tiny", torch.float32, CPU)


def pieces(tokenizer: Any, tokens: Any, span: tuple[int, ...]) -> str:
    """What a span's tokens stand for, spaces left out."""
    return tokenizer.decode([tokens.ids[position] for position in span]).replace(" ", "")


def test_spans_of_names(matcher: BridgeTowerMatcher, tiny_bridgetower: Path) -> None:  # noqa: F811
    names = ["dog", "hot dog", "hot air balloon", "猫", "hot 猫 dog", "ïn", "dogs", "zyx"]
    (prompt,) = build_prompts(names, matcher.tokenize, max_tokens=matcher.max_tokens)
    found = [pieces(matcher.tokenizer, prompt.tokens, span) for span in prompt.spans]
    assert found == [name.replace(" ", "") for name in names]
    assert [len(span) for span in prompt.spans[:4]] == [1, 2, 3, 3]  # 猫 has three bytes
    assert prompt.tokens.special[0]
    assert prompt.tokens.special[-1]
    assert not any(prompt.tokens.unknown)
    assert matcher.tokenize("<unk> dog").unknown == (False, True, False, False)
    # The space before a word is left out of its range, even if the tokenizer leaves it in.
    fields = json.loads((tiny_bridgetower / "tokenizer.json").read_text())
    fields["post_processor"]["trim_offsets"] = False
    loose = matcher.tokenizer.from_str(json.dumps(fields))
    assert loose.encode("a dog").offsets[2] == (1, 5)
    other = BridgeTowerMatcher(matcher.model, loose)
    assert other.tokenize(prompt.text) == prompt.tokens


letters = st.text("abcdEé猫🐈ß-'.", min_size=1, max_size=4)
names_strategy = st.lists(
    st.lists(letters, min_size=1, max_size=3).map(" ".join), min_size=1, max_size=8, unique=True
)


@settings(max_examples=15, deadline=None)
@given(st.lists(letters, max_size=12), names_strategy, st.sampled_from([" ", ", "]))
def test_spans_for_any_vocabulary(words: list[str], names: list[str], separator: str) -> None:
    tokenizer = make_tokenizer([*words, "picture"]).backend_tokenizer
    mine = BridgeTowerMatcher(make_model(400), tokenizer)
    prompts = build_prompts(names, mine.tokenize, separator=separator, max_tokens=80)
    assert [index for prompt in prompts for index in prompt.classes] == list(range(len(names)))
    for prompt in prompts:
        assert len(prompt.tokens.ids) <= 80
        used = [position for span in prompt.spans for position in span]
        assert used == sorted(set(used))  # names in order share no token
        for index, span in zip(prompt.classes, prompt.spans, strict=True):
            found = pieces(tokenizer, prompt.tokens, span)
            # A comma may be part of the token of the sign before it.
            assert found.removesuffix(",") == names[index].replace(" ", "")
