"""A program: a blocking chat with an async layer that Ctrl-C ends. Run by test_layers.py."""

from __future__ import annotations

import asyncio
from typing import Any

from sessile import Agent, MemorySessionStore, Request, Session


class Endless:
    async def generate(self, request: Request) -> str:
        print("begun", flush=True)
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)
            print("ended", flush=True)
        return ""


async def layer(turn: Any, call_next: Any) -> Any:
    return await call_next(turn)


session = Session("s", store=MemorySessionStore(), agent=Agent(model=Endless()), middleware=[layer])
try:
    session.chat("x")
except KeyboardInterrupt as error:
    print(type(error).__name__, session.message_count, flush=True)
