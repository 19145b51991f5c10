"""Ctrl-C at each line of a turn: the handle shows what is stored, nothing is said twice, and the same can be said again."""

from __future__ import annotations

import linecache
import sys
from pathlib import Path
from typing import Any

import pytest

import sessile
from sessile import Agent, MemorySessionStore, Request, Session
from sessile.testing.limits import within
from sessile.testing.plugin import full

CORE = str(Path(sessile.__file__).parent)
PASSED_OVER = ("memory_store.py", "locks.py")  # a store is another's; and see `new_lock`


class Looking:
    """A model that looks something up first."""

    def generate(self, request: Request) -> Any:
        if request.messages[-1].role == "tool":
            return "found"
        return {"role": "assistant", "content": "let me see", "tool_calls": [{"name": "look", "arguments": {}}]}


class Resuming:
    def on_agent_start(self) -> list[tuple[str, str]]:
        return [("user", "from before"), ("assistant", "yes")]

    def middleware(self) -> Any:
        return lambda turn, call_next: call_next(turn)


class AtLine:
    """Raises KeyboardInterrupt at the line of a number, counted from the first of the core that is run."""

    def __init__(self, number: int) -> None:
        self.left, self.where = number, ""

    def __call__(self, frame: Any, event: str, arg: object) -> Any:
        file, line = frame.f_code.co_filename, frame.f_lineno
        if not file.startswith(CORE) or file.endswith(PASSED_OVER):
            return None
        # at the end of a `with` the trace comes again, where no signal can: before the lock is free
        if event == "line" and not linecache.getline(file, line).lstrip().startswith("with "):
            self.left -= 1
            if not self.left:
                self.where = f"{Path(file).name}:{line}"
                sys.settrace(None)
                raise KeyboardInterrupt
        return self


def told(session: Session) -> list[tuple[Any, Any]]:
    return [(said.id, said.content) for said in session.messages]


def interrupted_at(number: int, *, resumes: bool) -> bool:
    """Interrupt a turn at a line, and see that all is well. False where there are not so many."""

    def look() -> str:
        return "42"

    store = MemorySessionStore()
    agent = Agent(model=Looking(), tools=[look])
    session = Session("s", store=store, agent=agent, timeout=5, plugins=[Resuming()] if resumes else [])
    if not resumes:
        session.chat("before")
    tracer = AtLine(number)
    sys.settrace(tracer)
    try:
        session.chat("hi")
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(None)
    fresh = Session("s", store=store)
    assert told(session) == told(fresh), tracer.where
    answered = fresh.messages[-1:] and fresh.messages[-1].content == "found" and fresh.message_count > 4
    session.chat("hi")
    contents = [content for _, content in told(fresh)]
    assert told(session) == told(fresh), tracer.where
    assert contents.count("hi") == (2 if answered else 1), (tracer.where, contents)
    assert contents[:2] == (["from before", "yes"] if resumes else ["before", "let me see"]), (tracer.where, contents)
    assert len({said for said, _ in told(fresh)}) == len(contents) == fresh.message_count, tracer.where
    assert fresh.verify(), tracer.where
    return bool(tracer.where)


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_turn_that_is_interrupted_at_any_line_goes_on(pytestconfig: pytest.Config) -> None:
    step = 1 if full(pytestconfig) else 3
    for number, resumes in enumerate((False, True), 1):
        while within(30, "a turn after an interrupt", lambda: interrupted_at(number, resumes=resumes)):  # noqa: B023
            number += step
        assert number > 200
