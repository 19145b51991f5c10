"""The agent, in both faces: a model with a name, instructions and tools, and the session it speaks in."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any, Self

from sessile.conversation.messages import message as said
from sessile.drive.arguments import Check, checked_class
from sessile.drive.faces import Awaiting
from sessile.log.encoding import JSON
from sessile.session.agents.base import BaseAgent

if TYPE_CHECKING:
    from sessile.session import AsyncSession, Session  # noqa: F401 - named below in quotes, as they import this file

logger = logging.getLogger("sessile")


@checked_class
class Agent(BaseAgent["Session"]):
    """A model that follows instructions, calls tools, and remembers.

    model: a registered name, an instance, or None for $SESSILE_MODEL, else the embedded one. tools: plain functions.
    memory: {"session_id": …}, a `MemoryConfig`; without a session id the conversation ends with the process.
    db: a store's URL, or an object with hooks such as `on_user_message` that does the storing itself.
    window, budget: at most so many messages and tokens of history are sent (None: the model's own, else 50 and 8,000).
    max_steps: how often the model may call tools in one turn. options: what the model is given with each request,
    such as {"temperature": 0}. session: the session it speaks in; None opens one as `memory` and `db` say, which `close`,
    or the end of `with`, closes.
    """

    _awaits = False

    def chat(self, message: JSON, *, session_id: str | None = None, metadata: Mapping[str, JSON] | None = None) -> str:
        """Say something and return the reply. session_id: speak in another session than the agent's own; for an agent that was
        made in a session, one in its store, of its user.

        metadata: JSON values that are stored with the message. Raises what `Session.chat` raises, and `Closed` for an agent that
        was closed.
        """
        with self._speaking_in(session_id) as session:
            return str(session.chat(message, agent=self, **_given(metadata)))

    start = chat

    def stream(
        self, message: JSON, *, session_id: str | None = None, metadata: Mapping[str, JSON] | None = None
    ) -> Iterator[str]:
        """Say something and get the reply in pieces as they arrive."""
        with self._speaking_in(session_id) as session:
            pieces: Iterator[str] = session.stream(message, agent=self, **_given(metadata))  # what is wrong with it is said now
        return pieces if self._is_own(session_id) else self._pieces_of(session_id, message, metadata)

    def _pieces_of(self, session_id: str | None, message: JSON, metadata: Mapping[str, JSON] | None) -> Iterator[str]:
        with self._speaking_in(session_id) as session:
            yield from session.stream(message, agent=self, **_given(metadata))

    def close(self) -> None:
        """Close the sessions that it has opened, and their store; the session that it was made in stays open.

        Those that other threads speak in are closed when these are done. A thousand are kept open at most: the least recently
        used is closed by itself.
        """
        with self._beginning:  # not while its own session is being opened
            self.closed = True
        if self._owns and self._session is not None:
            self._session.close()
        self._others.forget_all()
        self._let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@checked_class
class AsyncAgent(BaseAgent["AsyncSession"]):
    """An `Agent` whose methods are awaited, and which speaks in `AsyncSession`s: `await agent.chat("Hello")`."""

    _awaits = True

    async def chat(self, message: JSON, *, session_id: str | None = None, metadata: Mapping[str, JSON] | None = None) -> str:
        """See `Agent.chat`."""
        await self._look(session_id)
        with self._speaking_in(session_id) as session:
            return str(await session.chat(message, agent=self, **_given(metadata)))

    start = chat

    def stream(
        self, message: JSON, *, session_id: str | None = None, metadata: Mapping[str, JSON] | None = None
    ) -> AsyncIterator[str]:
        """Say something and get the reply in pieces as they arrive."""
        if not self._is_own(session_id):
            self._check_open()
            said("user", message, metadata)  # what is wrong with it is said now
            return self._pieces_of(session_id, message, metadata)
        with self._speaking_in(None) as session:
            pieces: AsyncIterator[str] = session.stream(message, agent=self, **_given(metadata))
        return pieces

    async def _pieces_of(self, session_id: str | None, message: JSON, metadata: Mapping[str, JSON] | None) -> AsyncIterator[str]:
        await self._look(session_id)
        with self._speaking_in(session_id) as session:
            async with aclosing(session.stream(message, agent=self, **_given(metadata))) as pieces:
                async for piece in pieces:
                    yield piece

    async def _look(self, session_id: str | None) -> None:
        """Find out whose the session is that it was made in, before another one is opened beside it."""
        if not (self._owns or self._is_own(session_id)):
            await self._session._handle.open()

    def _close_session(self, session: Any) -> None:
        """Close one that is put away, beside whoever speaks in another."""
        import asyncio

        closing = asyncio.ensure_future(_closed(session))
        self._closings.add(closing)
        closing.add_done_callback(self._closings.discard)

    async def close(self) -> None:
        """See `Agent.close`."""
        from sessile.drive.inside import finished

        with self._beginning:
            self.closed = True
        if self._owns and self._session is not None:
            await self._session.close()
        self._others.forget_all()
        await finished([*self._closings])
        await Awaiting().call(self._let_go)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def _closed(session: Any) -> None:
    try:
        await session.close()
    except Exception as error:  # it is not the one that anybody speaks in
        logger.error("session %r, which is not used any more, was not closed: %s", session.session_id, error, exc_info=error)


AnyAgent = Annotated[Agent | AsyncAgent, Check(lambda value: isinstance(value, BaseAgent), "an Agent")]


def _given(metadata: Mapping[str, JSON] | None) -> dict[str, Any]:
    """The keyword for metadata where there is some: a subclass's `chat` may not have it."""
    return {} if metadata is None else {"metadata": metadata}
