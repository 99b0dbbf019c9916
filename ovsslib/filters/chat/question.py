"""What a model is asked about an image, and the form its answer should take."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

_SYSTEM = (
    "You look at a picture and say which classes of a fixed list are visible in it. You answer "
    "with JSON only."
)
_TASK = (
    "Which of the following classes are visible in this picture? Name at most {most} of them, the "
    "most certain first, each with the probability in percent (a whole number from 0 to 100) that "
    "it is visible. Use the names exactly as they are given. Name no class that is not in the "
    "list; where none is visible, give an empty list.\n"
    'Form of the answer: {{"classes": [{{"name": "...", "probability": 95}}]}}\n'
    "Classes:\n{classes}"
)


@dataclass(frozen=True)
class Question:
    """A question about images of one data set.

    Attributes:
        classes: The data set's names.
        most: Most classes the model may name.
        side: Longer side, in pixels, that a larger image is shrunk to.
        quality: Of the JPEG that is sent, 1..95.
        detail: How closely OpenAI's models look: `"auto"`, `"low"` or `"high"`.
    """

    classes: tuple[str, ...]
    most: int = 25
    side: int = 768
    quality: int = 85
    detail: str = "auto"

    @property
    def text(self) -> str:
        """The words."""
        return _TASK.format(most=self.most, classes=_numbered(self.classes))

    @property
    def hash(self) -> str:
        """12 hex digits of words, form and preparation of the image."""
        form = [_SYSTEM, self.text, self.response_format, self.side, self.quality, self.detail]
        return hashlib.sha256(json.dumps(form).encode()).hexdigest()[:12]

    @property
    def response_format(self) -> dict[str, Any]:
        """A JSON schema of the answer: names out of the list and nothing else."""
        item = {
            "type": "object",
            "properties": {
                "name": {"type": "string", "enum": list(self.classes)},
                "probability": {"type": "integer"},
            },
            "required": ["name", "probability"],
            "additionalProperties": False,
        }
        schema = {
            "type": "object",
            "properties": {"classes": {"type": "array", "items": item}},
            "required": ["classes"],
            "additionalProperties": False,
        }
        inner = {"name": "classes_in_picture", "strict": True, "schema": schema}
        return {"type": "json_schema", "json_schema": inner}

    def messages(self, image: Image.Image) -> list[dict[str, Any]]:
        """The question about one image, as the chat API takes it."""
        url = "data:image/jpeg;base64," + base64.b64encode(self.jpeg(image)).decode("ascii")
        picture = {"type": "image_url", "image_url": {"url": url, "detail": self.detail}}
        return [
            {"role": "system", "content": _SYSTEM},
            {"role": "user", "content": [{"type": "text", "text": self.text}, picture]},
        ]

    def jpeg(self, image: Image.Image) -> bytes:
        """The image as it is sent: no larger than `side`, never enlarged, without metadata."""
        small = image.convert("RGB")
        small.thumbnail((self.side, self.side), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=self.quality)
        return buffer.getvalue()


def _numbered(classes: Sequence[str]) -> str:
    """`1: cat`, a class a line."""
    return "\n".join(f"{number}: {name}" for number, name in enumerate(classes, start=1))
