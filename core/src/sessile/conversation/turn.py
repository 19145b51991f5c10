"""A turn, as middleware and hooks see it. What happens in one is in `turns.py`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Generic, NamedTuple

import attrs

from sessile.conversation.messages import Message
from sessile.conversation.tools import Tool
from sessile.drive.arguments import Check
from sessile.log.encoding import JSON
from sessile.log.ids import new_id
from sessile.log.stamping import Draft

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    SessionType = TypeVar("SessionType", default=Any)
else:  # typing's own has no defaults before Python 3.13
    from typing import TypeVar

    SessionType = TypeVar("SessionType")

Sink = Callable[[str], None]


class AgentLike(ABC):
    """What turns and hooks are given of an agent; `Agent` is one."""

    name: str
    instructions: str
    tools: list[Tool]
    window: int | None
    budget: int | None
    max_steps: int
    options: dict[str, JSON]

    @abstractmethod
    def find_model(self, plugins: Any) -> Any:
        """The model that it speaks with: what it was given, or what these plugins register."""


Speaker = Annotated[AgentLike, Check(lambda value: isinstance(value, AgentLike), "an Agent")]


class Sent(NamedTuple):
    """A turn's commit in progress. If it is interrupted, this is how the core finds out whether it was stored.

    If it was stored, it is in `log` from position `start` on. final: whether it ends with the reply.
    """

    drafts: Sequence[Draft]
    log: str
    start: int
    final: bool


@attrs.define(eq=False, slots=False)
class Turn(Generic[SessionType]):
    """One turn, as middleware and hooks see it.

    session: blocking for a blocking function, an `AsyncSession` for an `async def`, whatever the user holds; annotate the
    turn as `Turn[Session]` or `Turn[AsyncSession]` for a type checker to know which.
    id: of the turn and of its first message. message: the user's; middleware may replace it. said: what is stored of
    this turn so far. recalled: what plugins brought for it (see the hook `recall`). prompt: what the model was sent last. step:
    how often the model was asked before, in this turn. reply: the stored reply, at the end. emit: takes each piece
    of text while `streaming`; middleware may wrap it. metadata: for middleware to share what it likes, never stored.
    """

    session: SessionType
    agent: AgentLike
    message: Message
    streaming: bool
    emit: Sink
    left: Callable[[], bool] = attrs.field(default=lambda: False, repr=False)  # is the reader of the stream gone?
    id: str = attrs.field(factory=new_id)
    said: list[Message] = attrs.field(factory=list)
    recalled: list[Message] = attrs.field(factory=list)
    prompt: list[Message] = attrs.field(factory=list)
    step: int = 0
    reply: Message | None = None
    metadata: dict[str, Any] = attrs.field(factory=dict)
    recalled_for: tuple[AgentLike, Message] | None = None  # who asked what when that was brought
    arrived: list[str] = attrs.field(factory=list)  # what was streamed of the answer under way
    reported: JSON = None  # what the model said so far of the tokens that this answer takes
    began: int | None = None  # position of its first message in the session's log
    below: tuple[int, int] | None = None  # set where its beginning counts, but in a range that headers do not name any more
    asked: Message | None = None  # the user's message as it was stored last
    answering: bool = False  # is the inside of the onion under way?
    sent: Sent | None = None  # the commit under way

    @property
    def session_id(self) -> str:
        session: Any = self.session
        return str(session.session_id)

    @property
    def content(self) -> Any:
        """The content of the user's message; set it to change what is stored and sent."""
        return self.message.content

    @content.setter
    def content(self, value: JSON) -> None:
        self.message = self.message.replace(content=value)

    def _seen_by(self, asynchronous: bool) -> Turn:
        """The turn for code that awaits, or for code that does not: its `session` is of that face, the rest is shared."""
        held: Any = self.session
        session = held._seen_by(asynchronous)
        return self if session is held else _TurnView(self, session)

    def is_same(self, other: object) -> bool:
        """Is `other` this turn, for whichever face?"""
        return isinstance(other, Turn) and other.__dict__ is self.__dict__


class _TurnView(Turn):
    """A turn that shares everything with another but the session."""

    __slots__ = ("session",)

    def __init__(self, turn: Turn, session: Any) -> None:
        self.__dict__ = turn.__dict__
        self.session = session
