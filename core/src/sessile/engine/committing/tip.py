"""The tip of a session: its newest header, as far as it was seen, and what is committed behind it.

Here a commit meets a conflict: whoever loses looks at the newest header and makes the change anew, or tells its caller.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from sessile.engine.committing.commits import Commits, Retrying, overtaken
from sessile.engine.committing.deletion import clear_leftover, finish_deletion
from sessile.engine.committing.heirs import how_it_went, keep_inherited
from sessile.errors import AccessDenied, Closed, Conflict, LeaseLost, SessionNotFound
from sessile.log.entries import Entry
from sessile.log.header import DEFAULT_USER, DELETED, UNSEEN, Header
from sessile.log.ids import RESERVED, new_log_id
from sessile.log.stamping import Change, clock, stamp

Make = Callable[[Header], Change | None]  # what to commit behind a header; None: nothing, as it is


class Tip:
    """See the module's text. A `Handle` is one that reads and has plugins; state that sessions share needs no more than this.

    on_conflict: "rebase", or "raise" where a change of what somebody else changed is refused. metadata: of a new session.
    """

    def __init__(
        self,
        commits: Commits,
        session_id: str,
        *,
        user_id: str | None = None,
        app: str | None = None,
        metadata: dict[str, Any] | None = None,
        on_conflict: str = "rebase",
    ) -> None:
        self.commits = commits
        self.session_id = session_id
        self.user_id = user_id
        self.app = app
        self.metadata = metadata or {}
        self.on_conflict = on_conflict
        self.closed = False
        self.token: int | None = None  # of the lease that it holds
        self._header: Header | None = None

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
        known, stored = self._header, await self._load(last)
        if stored is not None and stored.status == DELETED:  # but not to the end
            await finish_deletion(self.commits, stored)
        if stored is None and self._header is not known:  # another task has begun it while this one looked
            return await self.refresh(last)
        return self.see(stored)

    async def _load(self, last: int) -> Header | None:
        return await self.commits.load(self.session_id)

    async def refresh_for_change(self, on_conflict: str | None = None) -> Header:
        """As `refresh`, before a change. With on_conflict="raise": `Conflict` if the session changed since the last read."""
        shown = self._header
        header = await self.refresh()
        if (on_conflict or self.on_conflict) == "raise" and shown is not None and header.version != shown.version:
            raise self._overtaken(shown, header)
        return header

    def _overtaken(self, shown: Header, found: Header | None) -> Conflict:
        """The `Conflict` for on_conflict="raise": the session changed since this handle read it.

        It is raised again and again until the caller reads.
        """
        self.see(found)  # it may be gone
        self._header = shown
        return overtaken(self.session_id, found)

    @property
    def seen(self) -> Header | None:
        """The header as last seen; None before the first look."""
        return self._header

    def see(self, stored: Header | None) -> Header:
        """Remember `stored` as the newest header. None, or a pending or deleted header, means there is no session."""
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
        elif self.app is not None and stored.app != self.app:
            owner = f"application {stored.app!r}" if stored.app else "no application"
            raise AccessDenied(f"session {self.session_id!r} belongs to {owner}, not to {self.app!r}: choose another session id")
        self._header = stored
        return stored

    def _unborn(self) -> Header:
        return Header(
            session_id=self.session_id,
            log=new_log_id(self.session_id),
            user_id=self.user_id or DEFAULT_USER,
            app=self.app or "",
            metadata=self.metadata,
            created_at=clock(),
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
        return (await self.commit_behind(make, on_conflict=on_conflict, leased=leased))[1]

    async def commit_behind(
        self, make: Make, *, on_conflict: str | None = None, expected: int | None = None, leased: bool = False
    ) -> tuple[Header, list[Entry]]:
        """As `commit`. Returns the header after it as well: the newest one where there was nothing to do.

        expected: the version that the session must be at, else `Conflict`, whatever on_conflict says.
        """
        header = self._header
        if header is None or self.closed:
            header = await self.open()
        shown = header
        refused = expected is None and (on_conflict or self.on_conflict) == "raise"
        again: Retrying | None = None
        is_newest = False
        while True:
            if not leased and (header.lease is not None or self.token is not None):
                header = await self._until_free(header)
            change, failure = self._made(make, header, expected)
            if change is None:  # nothing to do, or it cannot be done; but the header may be out of date, so look again first
                known = header
                header = header if is_newest else await self.refresh()
                is_newest = True
                if header.version != known.version:
                    continue
                if isinstance(failure, Conflict) and self.on_conflict == "raise":
                    self._header = shown  # the caller has not seen the newest one
                if failure is not None:
                    raise failure
                return header, []
            if refused and header.version != shown.version:
                raise self._overtaken(shown, header)
            entries, fields = stamp(header, change, clock())
            if header.ancestors:
                fields.update(await keep_inherited(self.commits, header))
            try:
                after = await self.commits.put(header, entries, fields)
            except Conflict as conflict:
                if refused:
                    raise self._overtaken(shown, conflict.header) from conflict
                again = again or self.commits.retrying(f"session {self.session_id!r}")
                header, is_newest = await self._newest(conflict.header, late=await again.lost(conflict)), True
            else:
                self._header = after
                self._committed(header, after, entries)
                return after, entries

    def _made(self, make: Make, header: Header, expected: int | None) -> tuple[Change | None, Exception | None]:
        """What to commit behind a header, or why nothing can be."""
        try:
            self._check_expected(header, expected)
            return make(header), None
        except Exception as error:
            return None, error

    def _check_expected(self, header: Header, expected: int | None) -> None:
        if expected is not None and header.version != expected:
            raise Conflict(
                f"session {self.session_id!r} is at version {header.version}, not at {expected}: look what is new, then do it "
                "again",
                header,
            )

    async def _until_free(self, header: Header) -> Header:
        """Wait while others have the lease. `LeaseLost` where the one of this handle is over."""
        lost_with: int | None = None
        while True:
            token = self.token
            try:
                return self.see(await self.commits.until_free(header, token))
            except LeaseLost:
                if token == lost_with:
                    raise
                lost_with = token  # another task of this handle may have got it since the header was read
                header = await self.refresh()

    def _committed(self, before: Header, after: Header, entries: Sequence[Entry]) -> None:
        """Called after each commit of its own."""

    async def _newest(self, found: Header | None, *, late: bool) -> Header:
        """The header for the next attempt after a conflict. late: `found` may be out of date, so load it again."""
        if found is not None and found.status in UNSEEN:
            await clear_leftover(self.commits, found)
            found = None
        return await self.refresh() if late or found is None else self.see(found)

    async def commit_after(
        self,
        prepare: Callable[[Header], Awaitable[Change | None]],
        *,
        on_conflict: str | None = None,
        expected: int | None = None,
    ) -> list[Entry]:
        """As `commit_behind`, for a change that takes reading to prepare: prepared anew when somebody committed meanwhile."""
        again = self.commits.retrying(f"session {self.session_id!r}")
        while True:
            header = await self.refresh_for_change(on_conflict)
            self._check_expected(header, expected)
            try:
                change = await prepare(header)
            except Conflict:
                if (on_conflict or self.on_conflict) == "raise" or self._header is header:
                    raise
                continue  # another task or thread of this handle has read on while this one prepared
            try:
                return await self.commit(functools.partial(self._unless_changed, header, change), on_conflict="raise")
            except Conflict as conflict:
                if (on_conflict or self.on_conflict) == "raise":
                    raise
                await again.lost(conflict)
                if conflict.header is not None and conflict.header.status in UNSEEN:
                    await clear_leftover(self.commits, conflict.header)

    def _unless_changed(self, header: Header, change: Change | None, now: Header) -> Change | None:
        if now.version != header.version:
            raise self._overtaken(header, now)
        return change
