"""What a model is asked about an image, and the form its answer should take."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

from PIL import Image

from ovsslib.io.json import digest

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
_QUALITY = 85  # of the JPEG that is sent


@dataclass(frozen=True)
class Question:
    """A question about images of one data set.

    Attributes:
        classes: The data set's names.
        most: Most classes the model may name.
        side: Longer side, in pixels, that a larger image is shrunk to.
        detail: How closely OpenAI's models look: `"auto"`, `"low"` or `"high"`.
    """

    classes: tuple[str, ...]
    most: int = 25
    side: int = 768
    detail: str = "auto"

    @property
    def text(self) -> str:
        """The question in words, with the list of classes."""
        lines = (f"{number}: {name}" for number, name in enumerate(self.classes, start=1))
        return _TASK.format(most=self.most, classes="\n".join(lines))

    @property
    def hash(self) -> str:
        """12 hex digits of words and schema, and of how the image is prepared."""
        record = [_SYSTEM, self.text, self.response_format, self.side, _QUALITY, self.detail]
        return digest(record, 12, sort_keys=False)

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
        part = {"type": "image_url", "image_url": {"url": url, "detail": self.detail}}
        return [
            {"role": "system", "content": _SYSTEM},
            {"role": "user", "content": [{"type": "text", "text": self.text}, part]},
        ]

    def jpeg(self, image: Image.Image) -> bytes:
        """The image as it is sent: no larger than `side`, never enlarged, without metadata."""
        small = image.convert("RGB")
        small.thumbnail((self.side, self.side), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=_QUALITY)
        return buffer.getvalue()
