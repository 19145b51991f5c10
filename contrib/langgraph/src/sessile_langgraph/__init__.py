"""Checkpoints of LangGraph, kept by sessile: in any store, beside messages that everybody can read."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import islice
from typing import Any

from langchain_core.runnables import RunnableConfig as Config
from langgraph.checkpoint import base

from sessile import AdapterFace, AsyncSession, Entry, Message, SessionManager, both_faces, encode_id
from sessile.errors import Conflict, InvalidInput
from sessile.store import Recent

__all__ = ["SessileSaver"]

STEP = "langgraph.step"  # the kind of entries: a checkpoint, the writes of a task, or which checkpoints are gone
_ROLES = {"human": "user", "ai": "assistant", "system": "system", "tool": "tool"}
Key = tuple[str, str]  # a checkpoint's namespace and id


class SessileSaver(base.BaseCheckpointSaver[int]):
    """A checkpointer: `builder.compile(checkpointer=SessileSaver("sqlite:///chats.db"))`. A thread is a session.

    store: a URL or an instance, as for `sessile.Session`; user_id and options are those of the sessions. serde: LangGraph's
    serializer of checkpoints. Others read a thread with `sessile.Session(saver.session_id(thread_id), store=saver.store)`.

    A checkpoint and the new messages in it, of the channel "messages" of the outermost graph, are one commit."""

    def __init__(self, store: Any = None, *, user_id: str | None = None, serde: Any = None, **options: Any) -> None:
        super().__init__(serde=serde)
        self._manager = SessionManager(store)
        self.store = self._manager.store
        self._seen: Recent[str, tuple[Any, set[str]]] = Recent(1000)
        self._options = {**options, "user_id": user_id, "store": self.store}

    def session_id(self, thread_id: str) -> str:
        """The id of a thread's session."""
        return encode_id(str(thread_id))

    def close(self) -> None:
        """Close a store that was opened here."""
        self._manager.close()

    def _open(self, face: AdapterFace, thread_id: str) -> AsyncSession:
        return face.Session(self.session_id(thread_id), metadata={"thread_id": str(thread_id)}, **self._options)

    async def _put(self, face: AdapterFace, config: Config, checkpoint: Any, metadata: Any, new_versions: Any) -> Config:
        thread_id, (namespace, parent) = _place(config)
        said = {} if namespace else _messages(checkpoint["channel_values"].get("messages"))
        value = self._dump((checkpoint, base.get_checkpoint_metadata(config, metadata)))
        step = {"checkpoint": [namespace, checkpoint["id"]], "parent": parent, "value": value}
        async with self._open(face, thread_id) as session:
            while True:
                version = await session.version
                known = await self._known(session)
                new = [message for said_id, message in said.items() if said_id not in known]
                with suppress(Conflict):  # somebody else may have said the same meanwhile
                    await session.commit(messages=new, entries=[(STEP, step)], expected=version if new else None)
                    return _config(thread_id, (namespace, checkpoint["id"]))

    async def _known(self, session: AsyncSession) -> set[str]:
        """The ids of all messages of a thread; those that were seen before are not read again."""
        last, ids = self._seen.get(session.session_id, (None, set()))
        try:
            messages = await session.get_history(after=last)
        except InvalidInput:  # that one was taken back, or is of a session that was deleted
            ids, messages = set(), await session.get_history()
        ids.update(message.id for message in messages)
        self._seen[session.session_id] = (messages[-1].id if messages else last, ids)
        return ids

    async def _put_writes(self, face: AdapterFace, config: Config, writes: Any, task_id: str, task_path: str = "") -> None:
        thread_id, key = _place(config)
        numbered = [[base.WRITES_IDX_MAP.get(channel, n), channel, self._dump(v)] for n, (channel, v) in enumerate(writes)]
        async with self._open(face, thread_id) as session:
            await session.append(STEP, {"of": [*key], "task": [task_path, task_id], "writes": numbered})

    async def _get_tuple(self, face: AdapterFace, config: Config) -> base.CheckpointTuple | None:
        thread_id, (namespace, checkpoint_id) = _place(config)
        limit = 8
        async with self._open(face, thread_id) as session:
            while True:  # back from the end, until before the checkpoint was made: its writes may come into the log before it
                entries = await session.entries(STEP, limit)
                steps = Steps(entries)
                keys = [key for key in steps.checkpoints if key[0] == namespace and checkpoint_id in (None, key[1])]
                found = self._tuple(thread_id, max(keys), steps) if keys else None
                made = datetime.fromisoformat(found.checkpoint["ts"]).timestamp() if found else 0.0
                if len(entries) < limit or entries[0].time < made - 10.0:  # seconds that clocks may differ
                    return found
                limit *= 4

    async def _steps(self, face: AdapterFace, config: Config | None) -> list[tuple[str, Key, Steps]]:
        """All checkpoints that a config names, newest first."""
        asked, found = config["configurable"] if config else {}, []
        for thread_id in [asked["thread_id"]] if "thread_id" in asked else await face.call(self._threads):
            async with self._open(face, thread_id) as session:
                steps = Steps(await session.entries(STEP))
            namespace, checkpoint_id = asked.get("checkpoint_ns"), asked.get("checkpoint_id") or None
            keys = [key for key in steps.checkpoints if namespace in (None, key[0]) and checkpoint_id in (None, key[1])]
            found += [(str(thread_id), key, steps) for key in keys]
        return sorted(found, key=lambda one: one[1][1], reverse=True)

    def _threads(self) -> list[str]:
        app, headers = self._options.get("app"), self._manager.each(user_id=self._options["user_id"])
        found = ((h.session_id, h.metadata.get("thread_id", "")) for h in headers if app in (None, h.app))
        return [thread_id for session_id, thread_id in found if session_id == self.session_id(thread_id)]  # no copy

    async def _list(
        self, face: AdapterFace, config: Config | None, *, filter: Any = None, before: Any = None, limit: Any = None
    ) -> list[base.CheckpointTuple]:
        end, wanted = _place(before)[1][1] if before else None, (filter or {}).items()
        tuples = (self._tuple(*one) for one in await self._steps(face, config) if end is None or one[1][1] < end)
        return [*islice((one for one in tuples if all(one.metadata.get(name) == value for name, value in wanted)), limit)]

    async def _delete_thread(self, face: AdapterFace, thread_id: str) -> None:
        async with self._open(face, thread_id) as session:
            await session.delete()

    async def _delete_for_runs(self, face: AdapterFace, run_ids: Sequence[str]) -> None:
        found = [_place(one.config) for one in await self._list(face, None) if one.metadata.get("run_id") in run_ids]
        for thread_id in {thread for thread, _ in found}:
            await self._forget(face, thread_id, [key for thread, key in found if thread == thread_id])

    async def _prune(self, face: AdapterFace, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        for thread_id in thread_ids:
            if strategy == "delete":
                await self._delete_thread(face, thread_id)
            else:
                keys = [key for _, key, _ in reversed(await self._steps(face, _config(thread_id)))]
                await self._forget(face, thread_id, {*keys} - {*{key[0]: key for key in keys}.values()})

    async def _forget(self, face: AdapterFace, thread_id: str, keys: Collection[Key]) -> None:
        if keys:
            async with self._open(face, thread_id) as session:
                await session.append(STEP, {"gone": [[*key] for key in keys]})

    async def _copy_thread(self, face: AdapterFace, source_thread_id: str, target_thread_id: str) -> None:
        async with self._open(face, source_thread_id) as session:
            if await session.exists():
                metadata = {**await session.metadata, "thread_id": str(target_thread_id)}
                await (await session.fork(session_id=self.session_id(target_thread_id), metadata=metadata)).close()

    get_tuple, aget_tuple = both_faces(_get_tuple)
    put, aput = both_faces(_put)
    put_writes, aput_writes = both_faces(_put_writes)
    delete_thread, adelete_thread = both_faces(_delete_thread)
    delete_for_runs, adelete_for_runs = both_faces(_delete_for_runs)
    prune, aprune = both_faces(_prune)
    copy_thread, acopy_thread = both_faces(_copy_thread)
    _listed, _alisted = both_faces(_list)

    def list(self, config: Config | None, **how: Any) -> Iterator[base.CheckpointTuple]:
        """The checkpoints of a thread, or of all (config None), newest first. Keywords: filter, before, limit."""
        return iter(self._listed(config, **how))

    async def alist(self, config: Config | None, **how: Any) -> AsyncIterator[base.CheckpointTuple]:
        for one in await self._alisted(config, **how):
            yield one

    def _dump(self, value: Any) -> list[str]:
        kind, data = self.serde.dumps_typed(value)
        return [kind, b64encode(data).decode()]

    def _load(self, dumped: Sequence[str]) -> Any:
        return self.serde.loads_typed((dumped[0], b64decode(dumped[1])))

    def _tuple(self, thread_id: str, key: Key, steps: Steps) -> base.CheckpointTuple:
        body, ordered = steps.checkpoints[key], sorted(steps.writes.get(key, {}).values(), key=lambda write: write[0])
        parent = _config(thread_id, (key[0], body["parent"])) if body["parent"] else None
        writes = [(task, channel, self._load(value)) for _, task, channel, value in ordered]
        return base.CheckpointTuple(_config(thread_id, key), *self._load(body["value"]), parent, writes)


class Steps:
    """What entries, oldest first, come to: the checkpoints that are there, and the writes of each, with their order."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.checkpoints: dict[Key, Mapping[str, Any]] = {}
        self.writes: dict[Key, dict[tuple[str, int], tuple[Any, str, str, Any]]] = {}
        for body in (entry.body for entry in entries):
            if "checkpoint" in body:
                self.checkpoints[tuple(body["checkpoint"])] = body
            for key in map(tuple, body.get("gone", ())):
                self.checkpoints.pop(key, None)
                self.writes.pop(key, None)
            for number, channel, value in body.get("writes", ()):
                path, task = body["task"]
                there = self.writes.setdefault(tuple(body["of"]), {})
                if number < 0 or (task, number) not in there:  # a task that is done again changes only what is special
                    there[task, number] = (base.writes_sort_key(path, task, number), task, channel, value)


def _place(config: Config) -> tuple[str, tuple[str, Any]]:
    """The thread that a config names, and the namespace and id of the checkpoint (None for the latest)."""
    asked = config["configurable"]
    return str(asked["thread_id"]), (asked.get("checkpoint_ns", ""), asked.get("checkpoint_id"))


def _config(thread_id: str, key: Sequence[str] = ()) -> Config:
    return {"configurable": {"thread_id": thread_id, **dict(zip(("checkpoint_ns", "checkpoint_id"), key, strict=False))}}


def _messages(values: Any) -> dict[str, Message]:
    """What is said in a channel, by id, as messages that everybody can read; what cannot be one is left out."""
    found: dict[str, Message] = {}
    for value in values if isinstance(values, list) else ():
        with suppress(InvalidInput, RecursionError, AttributeError):  # of what is no message of LangChain's
            calls = [{"id": c["id"], "name": c["name"], "arguments": c["args"]} for c in getattr(value, "tool_calls", ())]
            more = {"tool_calls": calls, "tool_call_id": getattr(value, "tool_call_id", None)}
            said = {"id": value.id, "content": value.content, **{name: part for name, part in more.items() if part}}
            plain = json.loads(json.dumps(said, ensure_ascii=False, default=str).encode(errors="replace"), parse_constant=str)
            found.setdefault(value.id, Message(plain).replace(role=_ROLES.get(value.type)))
    return {said_id: said for said_id, said in found.items() if said_id}
