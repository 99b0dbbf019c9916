"""What a model is asked."""

from __future__ import annotations

import io
from dataclasses import replace

from PIL import Image

from ovsslib.filters.chat.question import Question
from support.helpers import write_photo

QUESTION = Question(("cat", "hot dog"), most=7)


def test_words() -> None:
    assert "at most 7" in QUESTION.text
    assert QUESTION.text.endswith("Classes:\n1: cat\n2: hot dog")
    assert '{"classes": [{"name": "...", "probability": 95}]}' in QUESTION.text


def test_images_are_shrunk_and_never_enlarged(tmp_path) -> None:
    photo = Image.open(write_photo(tmp_path / "a.png", (1600, 1200)))
    sent = Image.open(io.BytesIO(QUESTION.jpeg(photo)))
    assert (sent.format, sent.size) == ("JPEG", (768, 576))
    assert photo.size == (1600, 1200)
    small = Image.new("RGBA", (30, 20), (10, 200, 10, 255))
    sent = Image.open(io.BytesIO(QUESTION.jpeg(small)))
    assert (sent.mode, sent.size) == ("RGB", (30, 20))
    assert QUESTION.jpeg(photo) == QUESTION.jpeg(photo)


def test_the_hash_tells_questions_apart() -> None:
    others = [
        replace(QUESTION, classes=("hot dog", "cat")),
        replace(QUESTION, most=8),
        replace(QUESTION, side=512),
        replace(QUESTION, detail="low"),
    ]
    assert len({q.hash for q in [QUESTION, *others]}) == 5
    assert Question(("cat", "hot dog")).hash == "e451c01139ab"  # answer files in use hold it
