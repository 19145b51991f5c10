"""A handle: one session in one store, as this process sees it. Here a commit meets a conflict.

The verbs of a session (history, state, turn, graph, …) are async functions of a handle, which the two faces have as methods.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from sessile.conversation.messages import Message, from_entry
from sessile.conversation.past import KEPT, Past, PastTurn
from sessile.drive.faces import Face
from sessile.drive.locks import new_lock
from sessile.drive.once import Once
from sessile.engine.commits import Commits, Retrying, overtaken
from sessile.engine.deletion import clear, finish
from sessile.engine.heirs import how_it_went, keep_inherited
from sessile.errors import AccessDenied, Closed, Conflict, CorruptStore, Missing, SessionNotFound
from sessile.log.encoding import json_value
from sessile.log.entries import MESSAGE, Entry, Segment
from sessile.log.header import DEFAULT_USER, DELETED, UNSEEN, Header
from sessile.log.ids import RESERVED, check_id, new_log_id
from sessile.log.lineage import before, cut, pieces, pieces_backwards
from sessile.log.stamping import Change, stamp
from sessile.plugins.active import Plugins
from sessile.store.waist import Store

Make = Callable[[Header], Change | None]  # what to commit behind a header; None: nothing, as it is


class Handle:
    """See the module's text. `timeout`: seconds after which a commit that keeps losing to others gives up."""

    def __init__(
        self,
        face: Face,
        store: Store,
        session_id: str,
        *,
        user_id: str | None = None,
        plugins: Plugins,
        metadata: dict[str, Any] | None = None,
        middleware: Sequence[Callable[..., Any]] = (),
        strict: bool = False,
        on_conflict: str = "rebase",
        timeout: float = 30,
        checkpoint_interval: int = 0,
        checkpoint_keep: int = 20,
    ) -> None:
        self.face = face
        self.store = store
        self.commits = Commits(face, store, timeout)
        self.session_id = check_id(session_id, reserved=True)
        self.user_id = None if user_id is None else check_id(user_id, "user id")
        self.plugins = plugins
        self.metadata = json_value(metadata or {}, "metadata")
        self.middleware = middleware
        self.layers: Sequence[Callable[..., Any]] | None = None  # all middleware, once a turn has asked the plugins for theirs
        self.strict = strict
        self.on_conflict = on_conflict
        self.timeout = timeout
        self.checkpoint_interval = checkpoint_interval
        self.checkpoint_keep = checkpoint_keep
        self.release: Callable[[], None] = lambda: None  # gives the store back
        self.session: Any = None  # the public object that hooks are given
        self.adopt: Callable[[Handle], object] = lambda sibling: None  # makes that of a sibling
        self.temp: dict[str, Any] = {}  # state under "temp:": never stored
        self.closed = False
        self.running: set[Any] = set()  # turns that are being streamed (see `streaming.py`)
        self.once = Once()  # what is asked of the plugins once
        self.lease: Any = None  # that it holds (see `exclusive.py`)
        self.token: int | None = None  # of that
        self.lock = new_lock()  # of what threads share in it
        self.alone = threading.Lock()  # held by the task or thread that has the lease, or is the next to wait for it
        self.unanswered: Any = None  # the turn that failed last, if it may be tried again
        self._header: Header | None = None
        self._past: Past | None = None
        self._ahead: list[Entry] = []  # the end of the log, where the store sent it along with the header
        self._scopes: dict[str, Handle] = {}

    # -- the header

    async def open(self) -> Header:
        """The header as last seen; loaded at the first call. `AccessDenied` where it is another user's session."""
        self.check_open()
        return self._header if self._header is not None else await self.refresh()

    async def refresh(self, last: int = 0) -> Header:
        """The header as the store has it now. `SessionNotFound` where the session was deleted meanwhile.

        last: so many entries will be read next, which some stores can send along.
        """
        self.check_open()
        known = self._header
        if last and self._past is None and self.commits.can.load_last is not None:
            stored, self._ahead = await self.commits.ask(self.commits.can.load_last, self.session_id, last)
        else:
            stored = await self.commits.load(self.session_id)
        if stored is not None and stored.status == DELETED:  # but not to the end
            await finish(self.commits, stored)
        if stored is None and self._header is not known:  # another task has begun it while this one looked
            return await self.refresh(last)
        return self.see(stored)

    async def refresh_for_change(self, on_conflict: str | None = None) -> Header:
        """As `refresh`, for a change of what it shows now. Under "raise", `Conflict` where that is another than it has shown."""
        shown = self._header
        header = await self.refresh()
        if (on_conflict or self.on_conflict) == "raise" and shown is not None and header.version != shown.version:
            raise self._overtaken(shown, header)
        return header

    def _overtaken(self, shown: Header, found: Header | None) -> Conflict:
        """The error under "raise" where a session is not as this handle has shown it; as often as it is tried without a look."""
        self.see(found)  # it may be gone
        self._header = shown
        return overtaken(self.session_id, found)

    @property
    def seen(self) -> Header | None:
        """The header as last seen; None before the first look."""
        return self._header

    def see(self, stored: Header | None) -> Header:
        """Take a header that the store has for the newest. None, and one that is no session, for none."""
        seen = self._header
        if stored is not None and stored.status in UNSEEN:
            stored = None
        if seen is not None and seen.version and (stored is None or stored.log != seen.log):
            if not self.session_id.startswith(RESERVED):
                raise SessionNotFound(
                    f"session {self.session_id!r} {how_it_went(self.commits)} while it was open: open it anew to begin a new one"
                )
            seen = None  # state that sessions share: it is empty now, and begins anew
        if stored is None:
            stored = seen or self._unborn()
        elif self.user_id is not None and stored.user_id != self.user_id:
            raise AccessDenied(f"session {self.session_id!r} does not belong to user {self.user_id!r}: choose another session id")
        self._header = stored
        return stored

    def _unborn(self) -> Header:
        return Header(
            session_id=self.session_id,
            log=new_log_id(self.session_id),
            user_id=self.user_id or DEFAULT_USER,
            metadata=self.metadata,
            created_at=round(time.time(), 6),
        )

    def check_open(self) -> None:
        """`Closed` where the handle was let go of."""
        if self.closed:
            raise Closed(f"session {self.session_id!r} is closed: open it again with Session({self.session_id!r})")

    # -- committing

    async def commit(self, make: Make, *, on_conflict: str | None = None, leased: bool = False) -> list[Entry]:
        """Commit what `make` makes of the newest header; after a conflict it is asked again ("rebase").

        Returns the entries as stored. Raises `Conflict` under "raise", or when `timeout` is over. leased: do not look
        who has the session's lease.
        """
        header = self._header
        if header is None or self.closed:
            header = await self.open()
        shown = header if (on_conflict or self.on_conflict) == "raise" else None
        again: Retrying | None = None
        newest = False
        while True:
            if not leased and (header.lease is not None or self.token is not None):
                header = self.see(await self.commits.until_free(header, self.token))
            change, failure = None, None
            try:
                change = make(header)
            except Exception as error:
                failure = error
            if change is None:  # nothing to do, or nothing that can be done; but that may be long past
                known, header, newest = header, header if newest else await self.refresh(), True
                if header.version != known.version:
                    continue
                if failure is not None:
                    raise failure
                return []
            if shown is not None and header.version != shown.version:
                raise self._overtaken(shown, header)
            entries, fields = stamp(header, change, round(time.time(), 6))
            if header.ancestors:
                fields.update(await keep_inherited(self.commits, header))
            try:
                after = await self.commits.put(header, entries, fields)
            except Conflict as conflict:
                if shown is not None:
                    raise self._overtaken(shown, conflict.header) from conflict
                again = again or self.commits.retrying(f"session {self.session_id!r}")
                header, newest = await self._newest(conflict.header, late=await again.lost(conflict)), True
            else:
                self._header = after
                if self._past is not None:
                    self._past.committed(header, after, entries)
                return entries

    async def _newest(self, found: Header | None, *, late: bool) -> Header:
        """The header to commit behind after a conflict with the one that was found. late: is that an old one by now?"""
        if found is not None and found.status in UNSEEN:
            await clear(self.commits, found)
            found = None
        return await self.refresh() if late or found is None else self.see(found)

    async def commit_after(
        self, prepare: Callable[[Header], Awaitable[Change | None]], *, on_conflict: str | None = None
    ) -> list[Entry]:
        """As `commit`, for a change that takes reading to prepare: prepared anew when somebody committed meanwhile."""
        again = self.commits.retrying(f"session {self.session_id!r}")
        while True:
            header = await self.refresh_for_change(on_conflict)
            change = await prepare(header)
            try:
                return await self.commit(functools.partial(self._unless_changed, header, change), on_conflict="raise")
            except Conflict as conflict:
                if (on_conflict or self.on_conflict) == "raise":
                    raise
                await again.lost(conflict)
                if conflict.header is not None and conflict.header.status in UNSEEN:
                    await clear(self.commits, conflict.header)

    def _unless_changed(self, header: Header, change: Change | None, now: Header) -> Change | None:
        if now.version != header.version:
            raise self._overtaken(header, now)
        return change

    # -- reading

    async def past(self, header: Header, limit: int | None) -> list[PastTurn]:
        """The last turns, which have at least `limit` messages together if there are so many; all for None."""
        kept = self._past if self._past is not None and self._past.fits(header) else None
        if kept is not None and kept.end < header.head:
            kept.extend(header, await self.read(Segment(header.depth, kept.end, header.head), MESSAGE))
        if kept is None or not (kept.whole or (limit is not None and kept.count >= limit)):
            kept = await self._read_past(header, limit)
        self._past = kept if kept.count <= 2 * KEPT else None
        return kept.last(limit)

    async def _read_past(self, header: Header, limit: int | None) -> Past:
        if limit is None:
            return Past(header, map(from_entry, await self.entries(header, MESSAGE)), whole=True)
        messages: list[Message] = []
        size = limit
        async for part in self.ranges(header):
            for piece in pieces_backwards(part, size):
                messages[:0] = map(from_entry, await self.read(piece, MESSAGE))
                size = 16
                if len(messages) >= limit and (past := Past(header, messages, whole=False)).count >= limit:
                    return past
        return Past(header, messages, whole=True)

    async def entries(self, header: Header, kind: str | None = None) -> list[Entry]:
        """Everything that counts, oldest first."""
        found: list[Entry] = []
        for part in await self.lineage(header):
            for piece in pieces(part):
                found += await self.read(piece, kind)
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
        (found,) = await self.read(Segment(depth, position, position + 1))
        return found

    async def read(self, part: Segment, kind: str | None = None) -> list[Entry]:
        """A range of one of the session's logs, whole. `SessionNotFound` where the session was deleted meanwhile."""
        header = self._header or await self.open()
        start, stop = part.start, part.stop or 0
        ahead, self._ahead = self._ahead, []
        if ahead and part.depth == header.depth and ahead[0].position <= start < stop <= ahead[-1].position + 1:
            return [e for e in ahead if start <= e.position < stop and kind in (None, e.kind)]
        log = header.log_at(part.depth)
        try:
            return await self.commits.read(log, start, stop, kind)
        except Missing as error:
            await self.refresh()
            raise CorruptStore(
                f"entries {start} to {stop} of log {log!r} are not all there: restore a copy of session {self.session_id!r}, or "
                "delete it"
            ) from error

    # -- others

    async def scope(self, name: str) -> Handle:
        """The handle that holds state of a scope: this one for "", else a tiny session for "user" or "app"."""
        if not name:
            return self
        user = None
        if name == "user":
            header = await self.open()
            if not header.version:  # somebody else may have begun it meanwhile, for another user
                header = await self.refresh()
            user = header.user_id
        session_id = f"{RESERVED}user:{user}" if user else f"{RESERVED}app"
        if session_id not in self._scopes:
            self._scopes[session_id] = Handle(
                self.face, self.store, session_id, user_id=user, plugins=self.plugins, timeout=self.timeout
            )
        return self._scopes[session_id]

    def sibling(self, header: Header) -> Handle:
        """A handle of another session in the same store, with the same plugins, that has seen this header."""
        handle = Handle(
            self.face,
            self.store,
            header.session_id,
            user_id=header.user_id,
            plugins=self.plugins,
            middleware=self.middleware,
            strict=self.strict,
            on_conflict=self.on_conflict,
            timeout=self.timeout,
            checkpoint_interval=self.checkpoint_interval,
            checkpoint_keep=self.checkpoint_keep,
        )
        handle._header = header
        self.adopt(handle)
        return handle

    async def hook(self, name: str, **arguments: Any) -> list[Any]:
        """Call a hook with this session's arguments filled in."""
        if not self.plugins.implementations(name):
            return []
        arguments.update(session=self.session, session_id=self.session_id)
        return await self.plugins.call(self.face, name, arguments, strict=self.strict)
