"""Anything that speaks the OpenAI chat completions API: OpenAI itself, llama.cpp, vLLM, Ollama, gateways."""

from __future__ import annotations

import os
from typing import Any

from sessile.errors import ModelError
from sessile.models import Request, background, on_background, token_usage

DEFAULT = "gpt-4o-mini"


class OpenAIModel:
    """A model behind the OpenAI API, with tools and streaming.

    model: its name there, by default $OPENAI_MODEL, else "gpt-4o-mini". base_url, api_key: by default $OPENAI_BASE_URL
    and $OPENAI_API_KEY. timeout: seconds a request may take. options: sent with every request, such as temperature; None leaves
    one out, such as stream_options=None for a server that does not know it.
    """

    def __init__(
        self,
        model: str = "",
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: float = 60,
        **options: Any,
    ) -> None:
        self.model = model or os.environ.get("OPENAI_MODEL") or DEFAULT
        self.base_url = base_url
        self.api_key = api_key
        self.timeout = timeout
        self.options = options
        self._clients: dict[int, Any] = {}  # by process: a child must not use, or close, its parent's connections

    def __repr__(self) -> str:
        return f"OpenAIModel({self.model!r}, base_url={self.base_url!r})"

    def close(self) -> None:
        """Close the connections that are kept for the next request. It may be used again."""
        client = self._clients.pop(os.getpid(), None)
        if client is not None:
            background(client.close())

    async def generate(self, request: Request) -> Any:
        """Ask the model. Raises `ModelError` for whatever goes wrong on the way, saying what to do."""
        return await on_background(self._generate(request))  # the client's connections live in one event loop

    async def _generate(self, request: Request) -> Any:
        import openai

        body: dict[str, Any] = {"model": self.model, **request.to_openai(), **self.options, **request.options}
        if request.emit is not None:
            body = {"stream_options": {"include_usage": True}, **body}
        body = {name: value for name, value in body.items() if value is not None}
        try:
            client = self._clients.get(os.getpid())
            if client is None:
                client = self._clients[os.getpid()] = openai.AsyncOpenAI(
                    base_url=self.base_url, api_key=self.api_key, timeout=self.timeout, max_retries=2
                )
            completions = client.chat.completions
            if request.emit is None:
                return _answer(await completions.create(**body))
            return await _streamed(await completions.create(**body, stream=True), request)
        except (AttributeError, TypeError, LookupError, ValueError) as error:
            raise ModelError(
                f"{self.model} answered what is no chat completion, or was asked with an option that there is not: check the "
                f"options, and base_url, which mostly ends in /v1 ({type(error).__name__}: {error})"
            ) from error
        except openai.AuthenticationError as error:
            raise ModelError(f"{self.model} refused the key: set OPENAI_API_KEY or pass api_key= ({error})") from error
        except openai.APITimeoutError as error:
            raise ModelError(f"{self.model} did not answer within {self.timeout} s: raise timeout=, or try again") from error
        except openai.APIConnectionError as error:
            raise ModelError(f"cannot reach {self.model}: check OPENAI_BASE_URL or base_url= ({error})") from error
        except openai.OpenAIError as error:
            raise ModelError(f"{self.model}: {error}") from error


async def _streamed(chunks: Any, request: Request) -> dict[str, Any]:
    """The whole message from its pieces, each handed on as it arrives; the connection is closed whatever happens."""
    text: list[str] = []
    calls: list[dict[str, Any]] = []
    about: dict[str, Any] = {}
    async with chunks:
        async for chunk in chunks:
            if chunk.usage is not None:
                about["usage"] = token_usage(chunk.usage.model_dump(), chunk.model)
            for choice in chunk.choices[:1]:
                if choice.finish_reason not in (None, "stop", "tool_calls"):
                    about["finish_reason"] = choice.finish_reason
                if piece := choice.delta.content or choice.delta.refusal:
                    request.emit(piece)  # type: ignore[misc]
                    text.append(piece)
                for part in choice.delta.tool_calls or ():
                    _add_call(calls, part)
    if not text and not calls:
        raise ModelError(f"the model gave no answer: {about.get('finish_reason') or 'its stream had no text'}")
    return {"content": "".join(text), "tool_calls": calls, "metadata": about}


def _add_call(calls: list[dict[str, Any]], part: Any) -> None:
    """Add a piece of a call to those there are. A new index begins another; where a server gives none, a new id does."""
    known = next((call for call in calls if part.index is not None and call["index"] == part.index), None)
    if part.index is None and calls and part.id in (None, "", calls[-1]["id"]):
        known = calls[-1]
    if known is None:
        known = {"index": part.index, "id": "", "name": "", "arguments": ""}
        calls.append(known)
    known["id"] = part.id or known["id"]
    if part.function is not None:
        known["name"] = part.function.name or known["name"]
        known["arguments"] += part.function.arguments or ""


def _answer(completion: Any) -> Any:
    """What the server answered, if it is a chat completion with a choice."""
    if not completion.choices or completion.choices[0].message is None:
        raise ValueError(f"no choices: {completion.model_dump_json()[:200]}")
    return completion
