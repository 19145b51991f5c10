"""A program: uses sessile in this process, then in a forked child, then here again. Its argument is a store's URL."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sessile import Agent, AsyncSession, Request, Session


class Model:
    async def generate(self, request: Request) -> str:
        await asyncio.sleep(0)
        return "fine"


class Plugin:
    async def on_user_message(self, session: Any) -> None:
        await session.increment_state("asked")


def blocking(turn: Any, call_next: Any) -> Any:
    return call_next(turn)


async def awaiting(turn: Any, call_next: Any) -> Any:
    return await call_next(turn)


def use(name: str) -> None:
    layers = [blocking, awaiting, blocking]
    options: dict[str, Any] = {
        "store": sys.argv[1],
        "agent": Agent(model=Model()),
        "plugins": [Plugin()],
        "middleware": layers,
    }

    async def main() -> list[str]:
        return await asyncio.gather(*[AsyncSession(f"{name}{n}", **options).chat("x") for n in range(20)])

    assert asyncio.run(main()) == ["fine"] * 20
    with ThreadPoolExecutor(10) as threads:
        sessions = [Session(f"{name}b{n}", **options) for n in range(10)]
        assert list(threads.map(lambda session: session.chat("x"), sessions)) == ["fine"] * 10
    assert Session(f"{name}b0", **options).get_state("asked") == sessions[0].message_count // 2
    print(name, flush=True)


signal.alarm(100)  # whoever hangs is ended
use("parent")
child = os.fork()
if not child:
    signal.alarm(50)
    use("child")
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
use("parent")
