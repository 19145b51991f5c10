"""A session's life beside its messages: what is known of it, archiving, deleting, closing."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from sessile.drive.arguments import Count
from sessile.drive.shown import shorten
from sessile.engine.committing.deletion import delete_session
from sessile.engine.handle import Handle
from sessile.engine.history import get_history
from sessile.engine.services import close_services
from sessile.engine.state import get_state
from sessile.errors import InvalidInput, NotRegistered, SessionExists
from sessile.log.encoding import JSON, copied, json_value, same
from sessile.log.header import ARCHIVED, SAVED, Header
from sessile.log.stamping import Change

_WORD = re.compile(r"[^\W\d_]{4,}")
_COMMON = frozenset(
    "about after again also been before being between both could does doing down during each from further have having "
    "here into just like more most much need only other over please same should some such tell than thank thanks that "
    "their them then there these they this those through under until very want was were what when where which while will "
    "with would your yours".split()
)


def moment(seconds: float) -> datetime:
    """Seconds since 1970 as an aware datetime in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


async def exists(h: Handle) -> bool:
    """Is the session stored? It is with its first message, state or metadata, and with `create`."""
    return bool((await h.refresh()).version)


async def create(h: Handle, title: str = "") -> bool:
    """Store the session, with a title, if its id is free. Returns whether this call created it."""
    created = False

    def born(header: Header) -> Change | None:
        nonlocal created
        created = not header.version
        return Change(fields={"title": json_value(title, "title")}) if created else None

    await h.commit(born, on_conflict="rebase")
    return created


async def create_new(h: Handle, title: str = "") -> None:
    """As `create`; `SessionExists` where the id is taken."""
    if not await create(h, title):
        raise SessionExists(f"session {h.session_id!r} exists already: open it with Session({h.session_id!r})")


async def set_fields(h: Handle, **fields: JSON) -> None:
    """Set header fields that are not part of the log, such as title and status."""
    await h.commit(lambda header: None if _has(header, fields) else Change(fields=fields))


def _has(header: Header, fields: Mapping[str, JSON]) -> bool:
    return bool(header.version) and all(same(getattr(header, name), value) for name, value in fields.items())


async def get_metadata(h: Handle) -> dict[str, Any]:
    """What was said about the session when it was created or since: a dict of JSON values (a copy)."""
    metadata: dict[str, Any] = copied((await h.refresh()).metadata)
    return metadata


async def set_metadata(h: Handle, metadata: Mapping[str, JSON]) -> None:
    """Replace the session's metadata."""
    await set_fields(h, metadata=json_value(dict(metadata), "metadata"))


async def update_metadata(h: Handle, values: Mapping[str, JSON], remove: Iterable[str] = ()) -> None:
    """Set some keys of the session's metadata and remove others, in one commit; what others set meanwhile stays."""
    values, gone = json_value(dict(values), "metadata"), frozenset(remove)

    def changed(header: Header) -> Change | None:
        metadata = {key: value for key, value in {**header.metadata, **values}.items() if key not in gone}
        return None if _has(header, {"metadata": metadata}) else Change(fields={"metadata": metadata})

    await h.commit(changed)


async def get_title(h: Handle) -> str:
    """The session's title; "" for none."""
    return (await h.refresh()).title


async def set_title(h: Handle, title: str) -> None:
    """Name the session, for lists."""
    await set_fields(h, title=json_value(title, "title"))


async def get_status(h: Handle) -> str:
    """ "created" (no entries yet), "active", "saved" (by `SessionManager.save`) or "archived"; the next entry makes it active."""
    return (await h.refresh()).status


async def archive(h: Handle) -> None:
    """Put the session away: it stays readable, and the next entry (a message, state, an undo) makes it active again."""
    await set_fields(h, status=ARCHIVED)


async def archive_if(h: Handle, log: str, only: Callable[[Header], bool]) -> bool:
    """Archive the session if it still has this log and `only(header)` is true. Returns whether it was archived."""
    archived = False

    def put_away(header: Header) -> Change | None:
        nonlocal archived
        archived = header.log == log and only(header)
        return Change(fields={"status": ARCHIVED}) if archived else None

    if only(await h.refresh()):  # otherwise skip the commit, which would wait for a lease
        await h.commit(put_away, on_conflict="rebase")
    return archived


async def mark_saved(h: Handle) -> None:
    """Set the status "saved", which the next entry ends. Everything was durable before."""
    await set_fields(h, status=SAVED)


async def created_at(h: Handle) -> datetime:
    """When the session was created (aware, UTC)."""
    return moment((await h.refresh()).created_at)


async def updated_at(h: Handle) -> datetime:
    """When the session was last changed (aware, UTC)."""
    header = await h.refresh()
    return moment(header.changed_at)


async def get_duration(h: Handle) -> float:
    """Seconds from the session's creation to its last change."""
    header = await h.refresh()
    return max(0.0, header.changed_at - header.created_at)


async def get_context(h: Handle) -> dict[str, Any]:
    """What is known of the session, as JSON values: ids, times (ISO 8601, UTC), counts, status, metadata and state."""
    header = await h.refresh()
    return {
        "session_id": header.session_id,
        "user_id": header.user_id,
        "app": header.app,
        "title": header.title,
        "status": header.status,
        "created_at": moment(header.created_at).isoformat(),
        "updated_at": moment(header.changed_at).isoformat(),
        "message_count": header.count,
        "metadata": copied(header.metadata),
        "state": await get_state(h),
    }


async def extract_topics(h: Handle, history: Iterable[Mapping[str, Any]] | None = None, limit: Count = 5) -> list[str]:
    """The words of four letters and more that are said most often, in a history or in the last 200 messages."""
    said = await get_history(h, 200) if history is None else history
    words = Counter(word for m in said for word in _WORD.findall(str(m.get("content") or "").lower()))
    return [word for word, _ in words.most_common(limit + len(_COMMON)) if word not in _COMMON][:limit]


async def hook(h: Handle, /, hook_name: str, **arguments: Any) -> list[Any]:
    """Call a hook that a plugin added with `registry.hooks`. Returns the results that are not None.

    arguments: all that the hook has, by their names; `session` and `session_id` are given by themselves. `NotRegistered` for a
    hook that no plugin has brought (the core calls its own), `InvalidInput` for other arguments.
    """
    h.check_open()
    specs = h.plugins.specs
    if hook_name not in specs.of_plugins():
        there = ", ".join(sorted(specs.of_plugins())) or "none"
        raise NotRegistered(
            f"no plugin has brought a hook {shorten(hook_name)} (there are: {there}): the core calls its own by itself"
        )
    wanted = specs.arguments[hook_name] - {"session", "session_id"}
    if arguments.keys() != wanted:
        raise InvalidInput(f"hook {hook_name!r} was given {sorted(arguments)}: it has {sorted(wanted)}")
    return await h.hook(hook_name, **arguments)


async def delete(h: Handle, *, cascade: bool = False) -> None:
    """Delete the session with its log. Every handle of it raises `SessionNotFound` from then on.

    Sessions that were forked from it keep what they inherited. cascade: delete those as well, and their forks.
    """
    header = await h.refresh_for_change()
    if header.version:
        await delete_session(h.commits, h.session_id, log=header.log, cascade=cascade, token=h.token)
    h.token = None


async def close(h: Handle) -> None:
    """End the turns that are being streamed, wait for the work behind them, call `on_session_close`, and let go of the handle.

    All that was said is stored already. A `chat` that another thread or task is in raises `Closed` with its next commit.
    """
    streams = [running for running in [*h.running] if not running.is_own() and running.stop()]
    for running in streams:
        await h.face.call(running.ended.wait)
    if h.behind is not None:
        await h.behind.drain(h.timeout)
    await h.once.do(h.face, "close", functools.partial(_let_go, h), h.timeout)


async def _let_go(h: Handle) -> None:
    if h.closed:  # by a call whose hooks failed
        return
    try:
        await h.hook("on_session_close")
    finally:
        try:
            await close_services(h, h.face)
        finally:
            await _give_back(h)


async def _give_back(h: Handle) -> None:
    try:
        if h.lease is not None:
            await h.lease._release()
    finally:
        h.closed = True
        await h.face.call(h.release)
