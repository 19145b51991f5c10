"""Checkpoints of LangGraph, kept by sessile: in any store, beside messages that everybody can read."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig as Config
from langgraph.checkpoint import base

from sessile import AdapterFace, AsyncSession, Entry, SessionManager, both_faces, encode_id
from sessile.errors import Conflict, InvalidInput

__all__ = ["SessileSaver"]

STEP = "langgraph.step"  # the kind of all entries: a checkpoint, the writes of a task, or which checkpoints are gone
_ROLES = {"human": "user", "ai": "assistant", "system": "system", "tool": "tool"}
Key = tuple[str, str]  # a checkpoint's namespace and id


class SessileSaver(base.BaseCheckpointSaver[int]):
    """A checkpointer: `builder.compile(checkpointer=SessileSaver("sqlite:///chats.db"))`. A thread is a session.

    store, user_id, options: as for `sessile.Session`. serde: LangGraph's serializer of what is in a checkpoint. Others read a
    thread with `sessile.Session(saver.session_id(thread_id), store=saver.store)`.

    One commit stores a checkpoint and the messages that are new in it: those of the channel "messages" of the graph itself, not
    of a graph within it. A checkpoint that was deleted or pruned is not found any more; it is in the log until its thread goes.
    """

    def __init__(self, store: Any = None, *, user_id: str | None = None, serde: Any = None, **options: Any) -> None:
        super().__init__(serde=serde)
        self._manager = SessionManager(store)
        self.store = self._manager.store
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
        key = (namespace, checkpoint["id"])
        said = [] if namespace else [*_messages(checkpoint["channel_values"].get("messages"))]
        value = self._dump((checkpoint, base.get_checkpoint_metadata(config, metadata)))
        step = {"checkpoint": [*key], "parent": parent, "value": value, "said": [message["id"] for message in said]}
        async with self._open(face, thread_id) as session:
            while True:
                version = await session.version
                known = {message.id for message in await session.get_history(2 * len(said))}
                known.update(*(entry.body.get("said", ()) for entry in await session.entries(STEP, 16 if said else 0)))
                new = [message for message in said if message["id"] not in known]
                try:
                    await session.commit(messages=new, entries=[(STEP, step)], expected=version if new else None)
                    return _config(thread_id, key)
                except Conflict:  # somebody else may have said the same meanwhile
                    continue
                except InvalidInput:
                    if not new:
                        raise
                    said = []  # what cannot be a message is in the checkpoint all the same

    async def _put_writes(
        self, face: AdapterFace, config: Config, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        thread_id, key = _place(config)
        numbered = [[base.WRITES_IDX_MAP.get(channel, n), channel, self._dump(v)] for n, (channel, v) in enumerate(writes)]
        async with self._open(face, thread_id) as session:
            await session.append(STEP, {"of": [*key], "task": [task_path, task_id], "writes": numbered})

    async def _get_tuple(self, face: AdapterFace, config: Config) -> base.CheckpointTuple | None:
        thread_id, (namespace, checkpoint_id) = _place(config)
        limit = 8
        async with self._open(face, thread_id) as session:
            while True:  # back from the end: the writes of a checkpoint are behind it
                entries = await session.entries(STEP, limit)
                steps = Steps(entries)
                keys = [key for key in steps.checkpoints if key[0] == namespace and checkpoint_id in (None, key[1])]
                if keys or len(entries) < limit:
                    return self._tuple(thread_id, max(keys), steps) if keys else None
                limit *= 4

    async def _list(
        self,
        face: AdapterFace,
        config: Config | None,
        *,
        filter: Mapping[str, Any] | None = None,
        before: Config | None = None,
        limit: int | None = None,
    ) -> list[base.CheckpointTuple]:
        asked = config["configurable"] if config else {}
        end = _place(before)[1][1] if before else None
        found: list[base.CheckpointTuple] = []
        for thread_id in [asked["thread_id"]] if "thread_id" in asked else await face.call(self._threads):
            async with self._open(face, thread_id) as session:
                steps = Steps(await session.entries(STEP))
            for key in steps.checkpoints:
                named = key == (asked.get("checkpoint_ns", key[0]), asked.get("checkpoint_id") or key[1])
                if named and (end is None or key[1] < end):
                    found.append(self._tuple(thread_id, key, steps))
        found = [one for one in found if all(one.metadata.get(name) == value for name, value in (filter or {}).items())]
        return sorted(found, key=lambda one: one.checkpoint["id"], reverse=True)[:limit]

    def _threads(self) -> list[str]:
        headers = self._manager.each(user_id=self._options["user_id"])
        return [header.metadata["thread_id"] for header in headers if "thread_id" in header.metadata]

    async def _delete_thread(self, face: AdapterFace, thread_id: str) -> None:
        await self._open(face, thread_id).delete()

    async def _delete_for_runs(self, face: AdapterFace, run_ids: Sequence[str]) -> None:
        for one in await self._list(face, None):
            if one.metadata.get("run_id") in run_ids:
                thread_id, key = _place(one.config)
                await self._forget(face, thread_id, [key])

    async def _prune(self, face: AdapterFace, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        for thread_id in thread_ids:
            if strategy == "delete":
                await self._delete_thread(face, thread_id)
            else:
                keys = sorted(_place(one.config)[1] for one in await self._list(face, _config(thread_id)))
                await self._forget(face, thread_id, {*keys} - {*{namespace: (namespace, at) for namespace, at in keys}.values()})

    async def _forget(self, face: AdapterFace, thread_id: str, keys: Collection[Key]) -> None:
        async with self._open(face, thread_id) as session:
            await session.append(STEP, {"gone": [[*key] for key in keys]})

    async def _copy_thread(self, face: AdapterFace, source_thread_id: str, target_thread_id: str) -> None:
        async with self._open(face, source_thread_id) as session:
            if await session.exists():
                metadata = {**await session.metadata, "thread_id": target_thread_id}
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
        """As `list`."""
        for one in await self._alisted(config, **how):
            yield one

    def _dump(self, value: Any) -> list[str]:
        kind, data = self.serde.dumps_typed(value)
        return [kind, b64encode(data).decode()]

    def _load(self, dumped: Sequence[str]) -> Any:
        return self.serde.loads_typed((dumped[0], b64decode(dumped[1])))

    def _tuple(self, thread_id: str, key: Key, steps: Steps) -> base.CheckpointTuple:
        parent = steps.checkpoints[key]["parent"]
        above = _config(thread_id, (key[0], parent)) if parent else None
        writes = [(task, channel, self._load(value)) for task, channel, value in steps.writes_of(key)]
        return base.CheckpointTuple(_config(thread_id, key), *self._load(steps.checkpoints[key]["value"]), above, writes)


class Steps:
    """What entries, oldest first, come to: the checkpoints that are there, and the writes of each."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.checkpoints: dict[Key, Mapping[str, Any]] = {}
        self._writes: dict[Key, dict[tuple[str, int], tuple[Any, tuple[str, str, Any]]]] = {}
        for body in (entry.body for entry in entries):
            if "checkpoint" in body:
                self.checkpoints[tuple(body["checkpoint"])] = body
            for key in map(tuple, body.get("gone", ())):
                self.checkpoints.pop(key, None)
                self._writes.pop(key, None)
            for number, channel, value in body.get("writes", ()):
                path, task = body["task"]
                there = self._writes.setdefault(tuple(body["of"]), {})
                if number < 0 or (task, number) not in there:  # a task that is done again changes only what is special
                    there[task, number] = (base.writes_sort_key(path, task, number), (task, channel, value))

    def writes_of(self, key: Key) -> list[tuple[str, str, Any]]:
        """(task, channel, value) of each, in the order they are applied."""
        return [write for _, write in sorted(self._writes.get(key, {}).values(), key=lambda item: item[0])]


def _place(config: Config) -> tuple[str, tuple[str, Any]]:
    """The thread that a config names, and the namespace and id of the checkpoint (None for the latest)."""
    asked = config["configurable"]
    return str(asked["thread_id"]), (asked.get("checkpoint_ns", ""), asked.get("checkpoint_id"))


def _config(thread_id: str, key: Sequence[str] = ()) -> Config:
    return {"configurable": {"thread_id": thread_id, **dict(zip(("checkpoint_ns", "checkpoint_id"), key, strict=False))}}


def _messages(values: Any) -> Iterator[dict[str, Any]]:
    """What is said in a channel, as messages that everybody can read."""
    for value in values if isinstance(values, list) else ():
        role, said_id = _ROLES.get(getattr(value, "type", "")), getattr(value, "id", None)
        if role is not None and said_id is not None:
            calls = [{"id": c["id"], "name": c["name"], "arguments": c["args"]} for c in getattr(value, "tool_calls", ())]
            more = {"tool_calls": calls, "tool_call_id": getattr(value, "tool_call_id", None)}
            message = {"id": said_id, "role": role, "content": value.content, **{k: v for k, v in more.items() if v}}
            yield json.loads(json.dumps(message, ensure_ascii=False, default=str).encode(errors="replace"), parse_constant=str)
