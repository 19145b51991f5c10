"""A handle: reads one session in one store and calls its plugins. Its base class `Tip` commits.

The verbs of a session (history, state, turn, graph, …) are async functions of a handle, which the two faces have as methods.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from sessile.conversation.messages import Message, from_entry
from sessile.conversation.prompt.past import KEPT, Past, PastTurn
from sessile.drive.faces import Face
from sessile.drive.locks import new_lock
from sessile.drive.once import Once
from sessile.engine.committing.commits import Commits
from sessile.engine.committing.deletion import teller
from sessile.engine.committing.tip import Tip
from sessile.errors import CorruptStore, Missing
from sessile.log.encoding import json_value
from sessile.log.entries import MESSAGE, Entry, Segment
from sessile.log.header import Header
from sessile.log.ids import check_id
from sessile.log.lineage import before, cut, pieces, pieces_backwards, torn
from sessile.log.stamping import altered, altered_text, ends_otherwise
from sessile.plugins.active import Plugins
from sessile.store.waist import Store

T = TypeVar("T")
_OWN = 32  # entries that it has committed itself which a handle keeps


class Handle(Tip):
    """See the module's text. `timeout`: seconds after which a commit that keeps losing to others gives up."""

    def __init__(
        self,
        face: Face,
        store: Store,
        session_id: str,
        *,
        user_id: str | None = None,
        app: str | None = None,
        plugins: Plugins,
        metadata: dict[str, Any] | None = None,
        middleware: Sequence[Callable[..., Any]] = (),
        strict: bool = False,
        on_conflict: str = "rebase",
        timeout: float = 30,
        checkpoint_interval: int = 0,
        checkpoint_keep: int = 20,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            Commits(face, store, timeout),
            check_id(session_id, reserved=True),
            user_id=None if user_id is None else check_id(user_id, "user id"),
            app=app if app is None else check_id(app, "name of an application"),
            metadata=json_value(metadata or {}, "metadata"),
            on_conflict=on_conflict,
        )
        self.commits.tell_gone = teller(face, plugins, strict=strict)
        self.face = face
        self.store = store
        self.plugins = plugins
        self.middleware = middleware
        self.layers: Sequence[Callable[..., Any]] | None = None  # all middleware, once a turn has asked the plugins for theirs
        self.strict = strict
        self.timeout = timeout
        self.checkpoint_interval = checkpoint_interval
        self.checkpoint_keep = checkpoint_keep
        self.options = dict(options or {})  # of services, by their names
        self.services: dict[str, Any] = {}  # in the order they were made (see `services.py`)
        self.making: dict[str, Any] = {}  # by name, the lock that is held while a service is made
        self.closing = False  # are the services being closed?
        self.release: Callable[[], None] = lambda: None  # gives the store back
        self.session: Any = None  # the public object that hooks are given
        self.adopt: Callable[[Handle], object] = lambda sibling: None  # makes the public session object for a sibling handle
        self.bound = False  # was it opened by a manager that is bound to its user?
        self.temp: dict[str, Any] = {}  # state under "temp:": never stored
        self.running: set[Any] = set()  # turns that are being streamed (see `streaming.py`)
        self.behind: Any = None  # the work behind its turns, once there was some (see `behind.py`)
        self.once = Once()  # what is asked of the plugins once
        self.lease: Any = None  # the lease that this handle holds, if any (see `exclusive.py`)
        self.lock = new_lock()  # protects `temp`, `unanswered` and the default agent, which threads share
        self.alone = threading.Lock()  # held by the task or thread that has the lease, or is the next to wait for it
        self.unanswered: Any = None  # the turn that failed last, if it may be tried again
        self._past: Past | None = None
        self._own: tuple[str, deque[Entry]] = "", deque(maxlen=_OWN)  # its log, and what this handle committed to it last
        self._ahead: list[Entry] = []  # the end of the log, where the store sent it along with the header
        self.scopes: dict[str, Tip] = {}  # by session id: the sessions that hold "user:" and "app:" state, loaded on first use

    # -- reading

    async def _load(self, last: int) -> Header | None:
        if not last or self._past is not None or self.commits.can.load_last is None or self.strict:
            return await self.commits.load(self.session_id)
        stored: Header | None
        stored, self._ahead = await self.commits.ask(self.commits.can.load_last, self.session_id, last)
        return stored

    def _committed(self, before: Header, after: Header, entries: Sequence[Entry]) -> None:
        if after.log != self._own[0]:
            self._own = after.log, deque(maxlen=_OWN)
        self._own[1].extend(entries)
        if self._past is not None:
            self._past.committed(before, after, entries)

    async def past(self, header: Header, limit: int | None) -> list[PastTurn]:
        """The last turns, which have at least `limit` messages together if there are so many; all for None."""
        kept = self._past if self._past is not None and self._past.fits(header) else None
        if kept is not None and kept.end < header.head:
            added = await self.read(Segment(header.depth, kept.end, header.head))
            kept = kept if kept.leads_to(added) else None
            if kept is not None:
                kept.extend(header, added)
        if kept is None or not (kept.whole or (limit is not None and kept.count >= limit)):
            kept = await self._read_past(header, limit)
        self._past = kept if kept.count <= 2 * KEPT else None
        return kept.last(limit)

    async def _read_past(self, header: Header, limit: int | None) -> Past:
        if limit is None:
            return Past(header, await self.messages(header), whole=True)
        messages: list[Message] = []
        async for part in self.backwards(header, limit, self.read_messages):
            messages[:0] = part
            if len(messages) >= limit and (past := Past(header, messages, whole=False)).count >= limit:
                return past
        return Past(header, messages, whole=True)

    async def backwards(self, header: Header, size: int, read: Callable[[Segment], Awaitable[list[T]]]) -> AsyncIterator[list[T]]:
        """What counts, in parts from the end (each oldest first): of `size` entries, then of 16 and more."""
        async for part in self.ranges(header):
            for piece in pieces_backwards(part, size):
                yield await read(piece)
                size = 16

    async def entries(self, header: Header, kind: str | None = None) -> list[Entry]:
        """Everything that counts, oldest first."""
        found: list[Entry] = []
        for part in await self.lineage(header):
            for piece in pieces(part):
                found += await self.read(piece, kind)
        return found

    async def messages(self, header: Header) -> list[Message]:
        """All messages that count, in the order of the log. They may share values with what a store keeps."""
        found: list[Message] = []
        for part in await self.lineage(header):
            for piece in pieces(part):
                found += await self.read_messages(piece)
        return found

    async def lineage(self, header: Header, last: Segment | None = None) -> list[Segment]:
        """All ranges that count now, or at the end of one of them (`last`), oldest first."""
        return [part async for part in self.ranges(header, last)][::-1]

    async def ranges(self, header: Header, last: Segment | None = None) -> AsyncIterator[Segment]:
        """As `lineage`, the last one first: those that the header names, then from entry to entry."""
        known, older = cut(header.segments, last or header.segments[-1])
        older = older or header.older
        for part in reversed(known):
            yield part
        first: Segment | None = known[0]
        while older and first is not None:
            first = before(await self.entry(first.depth, first.start))
            if first is not None:
                yield first

    async def entry(self, depth: int, position: int) -> Entry:
        """One entry of one of the session's logs."""
        (found,) = await self.recall(Segment(depth, position, position + 1))
        return found

    async def recall(self, part: Segment) -> list[Entry]:
        """As `read`, but what this handle has committed itself lately is not read again."""
        return self._committed_here(part) or await self.read(part)

    def _committed_here(self, part: Segment) -> list[Entry]:
        """A range, if this handle has committed all from there to the end itself, and that still is the end."""
        header, (log, own) = self._header, self._own
        if header is None or part.depth != header.depth or header.log != log:
            return []
        if header.head - part.start > _OWN or (part.stop or 0) > header.head:  # others may have read a newer header
            return []
        found = {entry.position: entry for entry in [*own]}  # which may be in another order, where threads commit at once
        following = header.hash
        for position in range(header.head - 1, part.start - 1, -1):  # an older copy of the store may have been put back
            if position not in found or found[position].hash != following:
                return []
            following = found[position].prev
        return [found[position] for position in range(part.start, part.stop or 0)]

    async def read(self, part: Segment, kind: str | None = None) -> list[Entry]:
        """A range of one of the session's logs, whole. `SessionNotFound` where the session was deleted meanwhile."""
        ahead, self._ahead = self._ahead, []
        if ahead and (found := await self._found(ahead, part)):
            return [entry for entry in found if kind in (None, entry.kind)]
        if self.strict:
            return [entry for entry in await self._read_and_check(part) if kind in (None, entry.kind)]
        return await self._asked(self.store.read, part, kind)

    async def _read_and_check(self, part: Segment) -> list[Entry]:
        """A range, each of whose entries has the hash that the one behind it names; `CorruptStore` where one was altered."""
        header = self._header or await self.open()
        own, log, start, stop = part.depth == header.depth, header.log_at(part.depth), part.start, part.stop or 0
        end = header.head if own else header.ancestors[part.depth].stop
        entries: list[Entry] = await self._asked(self.store.read, Segment(part.depth, start, max(stop, min(stop + 1, end))), None)
        if entries and (position := altered(entries, start, entries[0].prev)) is not None:
            raise CorruptStore(altered_text(position, log))
        if entries and entries[-1].position == end - 1:
            if not own:
                await self._check_inherited(header, part.depth, entries[-1])
            elif entries[-1].hash != header.hash:
                raise CorruptStore(ends_otherwise(log))
        return entries[: stop - start]

    async def _check_inherited(self, header: Header, depth: int, last: Entry) -> None:
        """`CorruptStore` where the last entry that was inherited of a log is not the one that the fork behind it names."""
        ends = [*(row.stop for row in header.ancestors), header.head]
        above = next((above for above in range(depth + 1, len(ends)) if ends[above]), None)
        if above is None:
            return
        (first,) = await self._asked(self.store.read, Segment(above, 0, 1), None)
        if problem := torn(first, last, depth):
            raise CorruptStore(problem)

    async def read_messages(self, part: Segment) -> list[Message]:
        """The messages of a range of one of the session's logs. They may share values with what a store keeps."""
        if own := self._committed_here(part):
            return [from_entry(entry) for entry in own if entry.kind == MESSAGE]
        if self._ahead or self.strict or self.commits.can.read_messages is None:
            return [*map(from_entry, await self.read(part, MESSAGE))]
        return await self._asked(self.commits.can.read_messages, part)

    async def _found(self, ahead: Sequence[Entry], part: Segment) -> list[Entry]:
        """A range, if these entries of the session's own log have it whole."""
        header = self._header or await self.open()
        start, stop = part.start, part.stop or 0
        if part.depth != header.depth or not ahead[0].position <= start < stop <= ahead[-1].position + 1:
            return []
        return [entry for entry in ahead if start <= entry.position < stop]

    async def _asked(self, method: Callable[..., Any], part: Segment, *args: Any) -> list[Any]:
        """What a method of the store returns for a range of one of the session's logs."""
        header = self._header or await self.open()
        log, start, stop = header.log_at(part.depth), part.start, part.stop or 0
        try:
            found: list[Any] = await self.commits.ask(method, log, start, stop, *args)
            return found
        except Missing as error:
            await self.refresh()
            raise CorruptStore(
                f"entries {start} to {stop} of log {log!r} are not all there: restore a copy of session {self.session_id!r}, or "
                "delete it"
            ) from error

    # -- verbs

    def perform(self, verb: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Do a verb: the coroutine of it. What stands in for a handle may send it elsewhere (see `remote.py`)."""
        return verb(self, *args, **kwargs)

    # -- others

    def sibling(self, header: Header) -> Handle:
        """A handle of another session in the same store, with the same plugins, that has seen this header."""
        handle = Handle(
            self.face,
            self.store,
            header.session_id,
            user_id=header.user_id,
            app=header.app or None,
            plugins=self.plugins,
            middleware=self.middleware,
            strict=self.strict,
            on_conflict=self.on_conflict,
            timeout=self.timeout,
            checkpoint_interval=self.checkpoint_interval,
            checkpoint_keep=self.checkpoint_keep,
            options=self.options,
        )
        handle._header, handle.bound = header, self.bound
        self.adopt(handle)
        return handle

    async def hook(self, name: str, /, **arguments: Any) -> list[Any]:
        """Call a hook with this session's arguments filled in."""
        if not self.plugins.implementations(name):
            return []
        arguments.update(session=self.session, session_id=self.session_id)
        return await self.plugins.call(self.face, name, arguments, strict=self.strict)
