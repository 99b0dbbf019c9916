"""Asking a vision-language model on a server which classes it sees (the paper's step 1).

Any server that speaks OpenAI's chat API will do. The key is read from the environment when a client
is made and checked before the first request; no setting, result or message holds it, and it is cut
out of every text that comes back (`ovsslib.redact`).
"""

from __future__ import annotations

import os
import random
import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ovsslib.errors import OvssError
from ovsslib.filters.answers.file import Answer
from ovsslib.filters.answers.parse import parse_answer
from ovsslib.filters.answers.vocabulary import Vocabulary
from ovsslib.filters.chat.budget import Budget
from ovsslib.filters.chat.question import Question
from ovsslib.redact import redact, watch

if TYPE_CHECKING:
    from PIL import Image

Usage = tuple[int, int] | None
"""Tokens read and written."""
OPENAI = "https://api.openai.com/v1"
_PATIENCE = frozenset({408, 409, 425, 429})
_PLAIN = frozenset({400, 404, 415, 422, 501})
_HOPELESS = frozenset({401, 403, 404})


class ServerError(OvssError):
    """The server gives no answer; where `final`, it will give none to any image."""

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


class StoppedError(OvssError):
    """Asking was stopped while this image waited for its next attempt."""


@dataclass(frozen=True)
class Server:
    """Whom to ask, and how patiently.

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
        attempts: Requests per image before it is given up.
        wait: Seconds before the second attempt; doubled each time, and a little at random.
        longest_wait: Most seconds between two attempts, also when the server asks for more.
    """

    model: str = "gpt-4o"
    base_url: str = OPENAI
    key_env: str = "OPENAI_API_KEY"
    structured: bool = True
    temperature: float | None = 0.0
    max_tokens: int = 1500
    timeout: float = 60.0
    attempts: int = 6
    wait: float = 1.0
    longest_wait: float = 60.0

    def __post_init__(self) -> None:
        """Check the address: it ends up in files, so it must hold no secret."""
        if not re.fullmatch(r"[A-Za-z_]\w*", self.key_env, re.ASCII):
            raise OvssError("key_env must name an environment variable; it is not the key itself")
        watch(os.environ.get(self.key_env, ""))
        address = re.fullmatch(r"https?://([^/?#@\s]+)(/[^?#@\s]*)?", self.base_url)
        if address is None:
            raise OvssError(
                "base_url must be an address such as http://localhost:8000/v1, without user, "
                f"password or parameters; the key goes into ${self.key_env}"
            )


class Asker:
    """Puts one question about many images to one server; may be used by many threads.

    Args:
        server: Whom to ask.
        question: What.
        budget: How much; None for no limit.

    Raises:
        OvssError: The openai package or the key is missing, or the key cannot be one.
    """

    def __init__(self, server: Server, question: Question, budget: Budget | None = None) -> None:
        self.server = server
        self.question = question
        self.budget = budget or Budget()
        self.stop = threading.Event()
        self._vocabulary = Vocabulary.of(question.classes)
        self._structured = server.structured
        key = os.environ.get(server.key_env, "").strip()
        if not key and server.base_url.rstrip("/") == OPENAI:
            raise OvssError(
                f"set {server.key_env} to your key in the environment, and nowhere else"
            )
        if re.search(r"[^ -~]", key):
            # In a header it would fail, with an error that shows it.
            raise OvssError(
                f"{server.key_env} holds a line end, another control character or one outside "
                "ASCII; set it to the key alone, on one line"
            )
        watch(key)
        self._client = _client(server, key or "none")

    def ask(self, name: str, image: Image.Image) -> Answer:
        """Ask about one image.

        Args:
            name: Of the image.
            image: RGB.

        Returns:
            The answer, readable or not: one without any list of classes is asked for once more.

        Raises:
            ServerError: The server refuses the key or the model, or stays silent.
            StoppedError: `stop` was set meanwhile.
            BudgetSpentError: The budget does not allow another request.
            OvssError: The server refuses this image.
        """
        messages = self.question.messages(image)
        raw, usage = self._patiently(messages)
        parsed = parse_answer(raw, self._vocabulary)
        if not parsed.readable:
            raw, more = self._patiently(messages)
            parsed = parse_answer(raw, self._vocabulary)
            usage = (usage[0] + more[0], usage[1] + more[1]) if usage and more else None
        return Answer(name, raw, parsed, usage)

    def _patiently(self, messages: list[dict[str, Any]]) -> tuple[str, Usage]:
        """Try until there is an answer: its text and its tokens."""
        structured, reason = self._structured, ""
        for attempt in range(1, self.server.attempts + 1):
            outcome = self._once(messages, structured)
            if not isinstance(outcome, _Failure):
                # The same question in plain words went through: schemas are what it refuses.
                self._structured = self._structured and structured
                return outcome
            structured, reason = structured and not outcome.plain, outcome.reason
            pause = self._pause(attempt, outcome)
            if attempt < self.server.attempts and self.stop.wait(pause):
                raise StoppedError("asking was stopped")
        raise ServerError(
            f"{self.server.base_url} gave no answer in {self.server.attempts} attempts "
            f"({reason}); try again later"
        )

    def _pause(self, attempt: int, failure: _Failure) -> float:
        """Seconds until the next attempt: the server's wish, else twice as long each time."""
        if failure.plain:
            return 0.0
        doubled = self.server.wait * 2 ** (attempt - 1) * random.uniform(0.75, 1.25)
        return min(self.server.longest_wait, max(doubled, failure.wait))

    def _once(
        self, messages: list[dict[str, Any]], structured: bool
    ) -> tuple[str, Usage] | _Failure:
        """One request; a failure that may pass is returned, another raised."""
        import openai

        self.budget.take()
        usage = None
        try:
            completion = self._client.chat.completions.create(**self._body(messages, structured))
            outcome = self._read(completion)
            if not isinstance(outcome, _Failure):
                usage = outcome[1]
        except openai.APITimeoutError:
            outcome = _Failure(f"no answer within {self.server.timeout:g} s")
        except openai.APIConnectionError as error:
            outcome = _Failure(self._words(error.__cause__ or error))
        except openai.APIStatusError as error:
            outcome = self._refused(error, structured)
        except (ValueError, TypeError, AttributeError, openai.OpenAIError) as error:
            outcome = _Failure(f"the answer is no chat completion: {self._words(error)}")
        finally:
            self.budget.give(usage)
        if self.budget.limits[1] is not None and usage is None and isinstance(outcome, tuple):
            raise ServerError(
                "the server does not tell how many tokens it used, so its cost cannot be limited; "
                "limit the requests instead",
                final=True,
            )
        return outcome

    def _read(self, completion: Any) -> tuple[str, Usage] | _Failure:
        """Text and tokens of an answer that has the API's form."""
        choices = getattr(completion, "choices", None)
        if not choices:
            return _Failure("the answer is no chat completion: it has no choices")
        message = choices[0].message
        text = message.content or getattr(message, "refusal", None) or ""
        if not text.strip():
            return _Failure("the answer is empty")
        usage = getattr(completion, "usage", None)
        counts: Any = [getattr(usage, f"{kind}_tokens", None) for kind in ("prompt", "completion")]
        tokens = None if None in counts else (int(counts[0]), int(counts[1]))
        return redact(text), tokens

    def _body(self, messages: list[dict[str, Any]], structured: bool) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.server.model,
            "messages": messages,
            "max_tokens": self.server.max_tokens,
        }
        if self.server.temperature is not None:
            body["temperature"] = self.server.temperature
        if structured:
            body["response_format"] = self.question.response_format
        return body

    def _refused(self, error: Any, structured: bool) -> _Failure:
        """What an error status means for the next attempt."""
        status, words = error.status_code, self._words(error)
        quota = status == 429 and "insufficient_quota" in str(error.code or error.message)
        if not quota and (status in _PATIENCE or status >= 500) and status != 501:
            return _Failure(f"{status}: {words}", _retry_after(error.response.headers))
        mentioned = re.search(r"response_format|json_schema|schema|structured", words)
        if structured and status in _PLAIN and (status != 404 or mentioned):
            return _Failure(f"{status}: {words}", plain=True)
        if quota or status in _HOPELESS:
            hint = f"check ${self.server.key_env}, the model's name and base_url"
            # From None: the original error may hold the request, and so the key.
            raise ServerError(
                f"{self.server.base_url} answers {status}: {words}; {hint}", final=True
            ) from None
        raise OvssError(f"the server refuses this image ({status}: {words})") from None

    def _words(self, error: BaseException) -> str:
        """An error's text on one line, without the key."""
        words = " ".join(redact(str(error) or type(error).__name__).split())
        return words if len(words) <= 200 else words[:199] + "…"


@dataclass(frozen=True)
class _Failure:
    """A request that may be tried again, after a wait in seconds, or at once in plain words."""

    reason: str
    wait: float = 0.0
    plain: bool = False


def _client(server: Server, key: str) -> Any:
    """The openai client; it makes no attempts of its own, so that the budget counts all."""
    try:
        import openai
    except ImportError as error:
        raise OvssError(
            "the openai package is missing; install ovsslib[full], or use recorded answers"
        ) from error
    try:
        return openai.OpenAI(
            api_key=key, base_url=server.base_url, timeout=server.timeout, max_retries=0
        )
    except (ValueError, TypeError, ImportError, openai.OpenAIError) as error:
        raise OvssError(f"no client can be made ({error}); check the proxies' variables") from None


def _retry_after(headers: Any) -> float:
    """Seconds that the server asks to wait; 0 where it does not say."""
    try:
        return max(0.0, float(headers.get("retry-after", 0)))
    except ValueError:
        return 0.0
