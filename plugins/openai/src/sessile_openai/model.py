"""Anything that speaks the OpenAI chat completions API: OpenAI itself, llama.cpp, vLLM, Ollama, gateways."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from sessile import Message
from sessile.errors import ModelError
from sessile.models import Request, Tool, background, on_background, to_json

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

        body: dict[str, Any] = {"model": self.model, "messages": to_openai(request.messages)}
        if request.tools:
            body["tools"] = [_tool(tool) for tool in request.tools]
        body.update({**self.options, **request.options})
        try:
            client = self._clients.get(os.getpid())
            if client is None:
                client = self._clients[os.getpid()] = openai.AsyncOpenAI(
                    base_url=self.base_url, api_key=self.api_key, timeout=self.timeout, max_retries=2
                )
            completions = client.chat.completions
            if request.emit is None:
                answer = await completions.create(**body)
                return _reply(answer.choices[0].message.model_dump())
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
    async with chunks:
        async for chunk in chunks:
            delta = chunk.choices[0].delta if chunk.choices else None
            if delta is None:
                continue
            if delta.content:
                request.emit(delta.content)
                text.append(delta.content)
            for part in delta.tool_calls or ():
                call = calls.setdefault(part.index, {"id": "", "name": "", "arguments": ""})
                call["id"] += part.id or ""
                call["name"] += part.function.name or "" if part.function else ""
                call["arguments"] += part.function.arguments or "" if part.function else ""
    return {"content": "".join(text), "tool_calls": [calls[index] for index in sorted(calls)]}


def _reply(message: dict[str, Any]) -> dict[str, Any]:
    return {"content": message.get("content") or "", "tool_calls": message.get("tool_calls") or []}


def to_openai(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages in the API's own form."""
    return [_message(said) for said in messages]


def _message(said: Message) -> dict[str, Any]:
    sent: dict[str, Any] = {"role": said.role, "content": said.content}
    if said.tool_calls:
        sent["tool_calls"] = [
            {
                "id": call["id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": to_json(call["arguments"])},
            }
            for call in said.tool_calls
        ]
    if said.role == "tool":
        sent["tool_call_id"] = said.tool_call_id
    return sent


def _tool(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}
