"""Asking a vision-language model on a server which classes it sees (step 1 of the paper).

Any server that speaks OpenAI's chat API will do. The key is read from the environment when a client
is made and checked before the first request; no setting, result or message holds it, and it is cut
out of every text that comes back (`ovsslib.redact`).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from ovsslib.errors import OvssError
from ovsslib.filters.answers.file import Answer, Usage
from ovsslib.filters.answers.parse import parse_answer
from ovsslib.filters.answers.vocabulary import Vocabulary
from ovsslib.filters.chat.question import Question
from ovsslib.io.network import causes, check_address, check_network, hopeless
from ovsslib.lookup import Range, check_fields
from ovsslib.redact import redact, watch

if TYPE_CHECKING:
    from PIL import Image

OPENAI = "https://api.openai.com/v1"
_NO_SCHEMAS = frozenset({400, 415, 422})
"""The answer of a server that does not know JSON schemas, or refuses for another reason."""
_FINAL = frozenset({401, 403, 404})
"""The answer to a wrong key, model or address, whatever the image."""
_TRIED_AGAIN = frozenset({408, 409, 429})
"""What the openai client tries again, besides 500 and above."""


class ServerError(OvssError):
    """The server gives no answer; where `final`, it will give none to any image."""

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


@dataclass
class Server:
    """Which model on which server to ask, and how patiently.

    Attributes:
        model: Name of the model.
        base_url: Address of the API, such as `"http://localhost:8000/v1"`.
        key_env: Environment variable that holds the key; a server other than OpenAI's may need
            none.
        structured: Whether to ask for an answer that follows a JSON schema; a server which refuses
            that is asked in plain words from then on.
        temperature: 0 for the likeliest answer; None where the model allows no choice.
        max_tokens: Longest answer.
        timeout: Seconds to wait for an answer.
        attempts: Most requests until the server answers; the openai client waits longer before
            each, and as long as the server asks for.
    """

    model: str = "gpt-4o"
    base_url: str = OPENAI
    key_env: str = "OPENAI_API_KEY"
    structured: bool = True
    temperature: Annotated[float, Range(0, 2)] | None = 0.0
    max_tokens: Annotated[int, Range(1, 1_000_000)] = 1500
    timeout: Annotated[float, Range(0.001, 86_400)] = 60.0
    attempts: Annotated[int, Range(1, 100)] = 8

    def __post_init__(self) -> None:
        """Check numbers and address, which ends up in files, so it must hold no secret."""
        check_fields(self, "the server's ")
        if not self.model.strip():
            raise OvssError("name a model, such as gpt-4o")
        if not re.fullmatch(r"[A-Za-z_]\w*", self.key_env, re.ASCII):
            raise OvssError("key_env must name an environment variable; it is not the key itself")
        watch(os.environ.get(self.key_env, ""))
        address = re.fullmatch(r"https?://([^/?#@\s]+)(/[^?#@\s]*)?", self.base_url)
        if address is None:
            raise OvssError(
                "base_url must be an address such as http://localhost:8000/v1, without user, "
                f"password or parameters; the key goes into ${self.key_env}"
            )
        check_address(self.base_url, "base_url")

    def client(self) -> Any:
        """The openai client, with the key.

        Raises:
            OvssError: The openai package or the key is missing, the key cannot be one, the
                environment's settings of the network are wrong, or the server cannot be asked.
        """
        key = os.environ.get(self.key_env, "").strip()
        if not key and self.base_url.rstrip("/") == OPENAI:
            raise OvssError(f"set {self.key_env} to your key in the environment, and nowhere else")
        if re.search(r"[^ -~]", key):
            # In a header it would fail, with an error that shows it.
            raise OvssError(
                f"{self.key_env} holds a line end, another control character or one outside "
                "ASCII; set it to the key alone, on one line"
            )
        watch(key)
        check_network(self.base_url, "base_url", "httpx")
        try:
            import openai
        except ImportError as error:
            raise OvssError(
                "the openai package is missing; install ovsslib[full], or use recorded answers"
            ) from error
        try:
            client = openai.OpenAI(
                api_key=key or "none",
                base_url=self.base_url,
                timeout=self.timeout,
                max_retries=self.attempts - 1,
            )
        except (ValueError, TypeError, ImportError, openai.OpenAIError) as error:
            message = f"no client can be made ({error}); check the proxies' variables"
            raise OvssError(message) from None
        for name, value in client.default_headers.items():
            if isinstance(value, str) and re.search(r"[^ -~]", f"{name}{value}"):
                raise OvssError(
                    "OPENAI_ORG_ID, OPENAI_PROJECT_ID or OPENAI_CUSTOM_HEADERS holds a line end or "
                    "a character outside ASCII; correct or unset it"
                )
        self._knock(client)
        return client

    def _knock(self, client: Any) -> None:
        """Find out before the first image what the client would try again in vain."""
        import openai

        brief = client.with_options(max_retries=0, timeout=min(self.timeout, 10))
        try:
            brief.models.list()
        except openai.APIConnectionError as error:
            if hopeless(error):
                reason = " ".join(redact(str([*causes(error)][-1])).split())
                raise ServerError(
                    f"{self.base_url} cannot be asked ({reason}); check base_url, proxies and "
                    "certificates ($SSL_CERT_FILE)",
                    final=True,
                ) from None
        except (openai.OpenAIError, ValueError, TypeError, AttributeError):
            pass  # a server need not list its models


class Asker:
    """Puts one question about many images to one server; may be used by many threads.

    Args:
        server: Which server to ask.
        question: What to ask.

    Raises:
        OvssError: As `Server.client`.
    """

    def __init__(self, server: Server, question: Question) -> None:
        self.server = server
        self.question = question
        self._vocabulary = Vocabulary.of(question.classes)
        self._structured = server.structured
        self._client = server.client()

    def ask(self, name: str, image: Image.Image) -> Answer:
        """Ask about one image.

        Args:
            name: Name of the image.
            image: RGB.

        Returns:
            The answer, readable or not: one without any list of classes is asked for once more.

        Raises:
            ServerError: The server refuses the key or the model, or gives no answer.
            OvssError: The server refuses this image.
        """
        messages = self.question.messages(image)
        raw, usage = self._answer(messages)
        parsed = parse_answer(raw, self._vocabulary)
        if not parsed.readable:
            raw, more = self._answer(messages)
            parsed = parse_answer(raw, self._vocabulary)
            usage = (usage[0] + more[0], usage[1] + more[1]) if usage and more else None
        if not raw.strip():
            url = self.server.base_url
            raise ServerError(f"{url} sends an empty reply, or no chat completion; check base_url")
        return Answer(name, raw, parsed, usage)

    def _answer(self, messages: list[dict[str, Any]]) -> tuple[str, Usage]:
        """Text and tokens of an answer; empty where the reply is not a chat completion."""
        import openai

        structured = self._structured
        try:
            try:
                return self._request(messages, structured=structured)
            except openai.APIStatusError as error:
                if not structured or error.status_code not in _NO_SCHEMAS:
                    raise
            answer = self._request(messages, structured=False)
            # The same question in plain words went through: schemas are what it refuses.
            self._structured = False
            return answer
        except (ValueError, TypeError, AttributeError, openai.APIResponseValidationError):
            return "", (0, 0)
        except openai.OpenAIError as error:
            # From None: the original error may hold the request, and so the key.
            raise self._failure(error) from None

    def _request(self, messages: list[dict[str, Any]], *, structured: bool) -> tuple[str, Usage]:
        """One request, tried again by the client where that may help."""
        body: dict[str, Any] = {"model": self.server.model, "max_tokens": self.server.max_tokens}
        if self.server.temperature is not None:
            body["temperature"] = self.server.temperature
        if structured:
            body["response_format"] = self.question.response_format
        completion = self._client.chat.completions.create(messages=messages, **body)
        if not getattr(completion, "choices", None):
            return "", (0, 0)
        message, usage = completion.choices[0].message, completion.usage
        text = message.content or getattr(message, "refusal", None) or ""
        return redact(text), usage and (usage.prompt_tokens, usage.completion_tokens)

    def _failure(self, error: Any) -> OvssError:
        """What an error of the client means, on one line and without the key."""
        import openai

        words = " ".join(redact(str(error.__cause__ or error)).split())
        reason = words if len(words) <= 200 else words[:199] + "…"
        if isinstance(error, openai.APITimeoutError):
            reason = f"nothing within {self.server.timeout:g} s"
        elif isinstance(error, openai.APIStatusError):
            status, reason = error.status_code, f"{error.status_code}: {reason}"
            quota = "insufficient_quota" in str(error.code or error.message)
            if quota or status in _FINAL:
                hint = f"check ${self.server.key_env}, the model's name and base_url"
                return ServerError(f"{self.server.base_url} answers {reason}; {hint}", final=True)
            if status not in _TRIED_AGAIN and status < 500:
                return OvssError(f"the server refuses this image ({reason})")
        return ServerError(
            f"{self.server.base_url} gave no answer in {self.server.attempts} attempts ({reason}); "
            "try again later"
        )
