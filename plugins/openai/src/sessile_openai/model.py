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
    and $OPENAI_API_KEY. timeout: seconds a request may take. options: sent with every request, such as temperature.
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

    async def generate(self, request: Request) -> dict[str, Any]:
        """Ask the model. Raises `ModelError` for whatever goes wrong on the way, saying what to do."""
        return await on_background(self._generate(request))  # the client's connections live in one event loop

    async def _generate(self, request: Request) -> dict[str, Any]:
        import openai

        body: dict[str, Any] = {"model": self.model, **request.to_openai(), **self.options, **request.options}
        try:
            client = self._clients.get(os.getpid())
            if client is None:
                client = self._clients[os.getpid()] = openai.AsyncOpenAI(
                    base_url=self.base_url, api_key=self.api_key, timeout=self.timeout, max_retries=2
                )
            completions = client.chat.completions
            if request.emit is None:
                answer = await completions.create(**body)
                return _reply(answer)
            body.setdefault("stream_options", {"include_usage": True})
            return await _streamed(await completions.create(**body, stream=True), request)
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
    calls: dict[int, dict[str, Any]] = {}
    usage: dict[str, Any] = {}
    async with chunks:
        async for chunk in chunks:
            usage = _usage(chunk) or usage
            delta = chunk.choices[0].delta if chunk.choices else None
            if delta is None:
                continue
            if piece := delta.content or delta.refusal:
                request.emit(piece)
                text.append(piece)
            for part in delta.tool_calls or ():
                call = calls.setdefault(part.index, {"id": "", "name": "", "arguments": ""})
                call["id"] += part.id or ""
                call["name"] += part.function.name or "" if part.function else ""
                call["arguments"] += part.function.arguments or "" if part.function else ""
    return {"content": "".join(text), "tool_calls": [calls[index] for index in sorted(calls)], "metadata": usage}


def _reply(answer: Any) -> dict[str, Any]:
    message = answer.choices[0].message.model_dump()
    content = message.get("content") or message.get("refusal") or ""
    return {"content": content, "tool_calls": message.get("tool_calls") or [], "metadata": _usage(answer)}


def _usage(answer: Any) -> dict[str, Any]:
    """What an answer, or the last of its chunks, says of the tokens it took, as metadata."""
    usage = token_usage(answer.usage.model_dump(), answer.model) if answer.usage is not None else {}
    return {"usage": usage} if usage else {}
