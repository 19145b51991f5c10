"""The checkpointer under LangGraph's own conformance tests, beside its own in-memory one, and in graphs that run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, ChatMessage, HumanMessage, RemoveMessage, ToolMessage
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, interrupt
from tests.killing import killed_while_it_writes

from sessile import MemorySessionStore, Session, SessionManager
from sessile.errors import AccessDenied
from sessile_langgraph import SessileSaver

URLS = ["memory://", "sqlite:///{}/chats.db", "file://{}/chats"]


@pytest.mark.parametrize("url", URLS)
def test_langgraphs_own_conformance_tests_pass(url: str, tmp_path: Path) -> None:
    @checkpointer_test(name="SessileSaver")
    async def registered() -> AsyncIterator[SessileSaver]:
        saver = SessileSaver(url.format(tmp_path))
        yield saver
        saver.close()

    report = asyncio.run(validate(registered))
    assert [failure for result in report.results.values() for failure in result.failures or ()] == []
    assert sum(result.tests_passed for result in report.results.values()) == 81


_values = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=3) | st.binary(max_size=3)
_steps = st.lists(
    st.tuples(st.just("put"), st.sampled_from(["", "inner"]), st.dictionaries(st.sampled_from("ab"), _values), st.integers(0, 9))
    | st.tuples(
        st.just("write"),
        st.sampled_from(["", "inner"]),
        st.lists(st.tuples(st.sampled_from(["a", "__interrupt__", "__error__"]), _values), max_size=3),
        st.integers(0, 9),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(_steps, st.booleans())
def test_it_holds_what_langgraphs_own_saver_holds(steps: list[tuple[Any, ...]], asynchronous: bool) -> None:
    ours, theirs = SessileSaver(MemorySessionStore()), InMemorySaver()
    known: list[Any] = []
    for number, (verb, namespace, what, pick) in enumerate(steps):
        of = [config for config in known if config["configurable"]["checkpoint_ns"] == namespace]
        config = of[pick % len(of)] if of else {"configurable": {"thread_id": "t", "checkpoint_ns": namespace}}
        if verb == "put":
            checkpoint = {**empty_checkpoint(), "channel_values": what, "channel_versions": dict.fromkeys(what, number)}
            arguments: tuple[Any, ...] = (
                config,
                checkpoint,
                {"step": number, "run_id": f"run-{pick}"},
                dict.fromkeys(what, number),
            )
            known.append(theirs.put(*arguments))
            stored = asyncio.run(ours.aput(*arguments)) if asynchronous else ours.put(*arguments)
            assert stored == known[-1]
        elif of:
            for saver in (theirs, ours):
                saver.put_writes(config, what, f"task-{pick % 2}", f"path-{pick % 3}")
    for asked in (*known, {"configurable": {"thread_id": "t"}}, {"configurable": {"thread_id": "t", "checkpoint_ns": "inner"}}):
        assert ours.get_tuple(asked) == theirs.get_tuple(asked)
        assert asyncio.run(ours.aget_tuple(asked)) == theirs.get_tuple(asked)
    for options in ({}, {"limit": 2}, {"filter": {"run_id": "run-1"}}, *({"before": config} for config in known[1:3])):
        config = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
        assert [*ours.list(config, **options)] == [*theirs.list(config, **options)]


def graph_of(saver: Any, *, asks: bool = False) -> Any:
    def answer(state: MessagesState) -> dict[str, Any]:
        said = state["messages"][-1].content
        return {"messages": [AIMessage(f"{interrupt('Shall I?')}: {said}" if asks else f"You said: {said}")]}

    builder = StateGraph(MessagesState)
    builder.add_node("answer", answer)
    builder.add_edge(START, "answer")
    return builder.compile(checkpointer=saver)


THREAD = {"configurable": {"thread_id": "~a/../strange thread%"}}


@pytest.mark.parametrize("url", URLS[1:])
def test_a_graph_goes_on_where_another_process_left_it(url: str, tmp_path: Path) -> None:
    url = url.format(tmp_path)
    saver = SessileSaver(url, user_id="ann")
    stopped = graph_of(saver, asks=True).invoke({"messages": [("user", "Hello")]}, THREAD)
    assert stopped["__interrupt__"][0].value == "Shall I?"
    saver.close()

    async def go_on() -> Any:
        again = SessileSaver(url)
        graph = graph_of(again, asks=True)
        done = await graph.ainvoke(Command(resume="Yes"), THREAD)
        await graph.aupdate_state(THREAD, {"messages": [RemoveMessage(done["messages"][0].id)]})
        texts = [message.content for message in (await graph.aget_state(THREAD)).values["messages"]]
        session = Session(again.session_id(THREAD["configurable"]["thread_id"]), store=again.store)
        said = [(message.role, message.text) for message in session.messages]
        assert (session.user_id, session.verify().problem) == ("ann", "")
        again.close()
        return texts, said

    texts, said = asyncio.run(go_on())
    assert texts == ["Yes: Hello"]
    assert said == [("user", "Hello"), ("assistant", "Yes: Hello")]


def test_each_message_is_said_once_whatever_a_graph_does_with_its_state() -> None:
    saver = SessileSaver(MemorySessionStore())
    graph = graph_of(saver)
    config = {"configurable": {"thread_id": "t"}}
    first = HumanMessage("first", id="first")
    graph.invoke({"messages": [first]}, config)
    for number in range(40):  # a state that is kept short, with the very first message in it
        graph.invoke({"messages": [("user", f"number {number}")]}, config)
        messages = graph.get_state(config).values["messages"]
        graph.update_state(config, {"messages": [RemoveMessage(message.id) for message in messages[1:-1]]})
    calls = [{"id": "c", "name": "look", "args": {"where": "there"}}]
    parts = [{"type": "text", "text": "see"}, {"type": "image", "data": float("nan")}]
    odd = [
        AIMessage("", id="call", tool_calls=calls),
        ToolMessage("found", tool_call_id="c", id="result"),
        HumanMessage(parts, id="odd"),
    ]
    graph.update_state(config, {"messages": odd})
    said = Session(saver.session_id("t"), store=saver.store).messages
    assert len({message.id for message in said}) == len(said) == 2 + 80 + 3
    assert [message.text for message in said[:4]] == ["first", "You said: first", "number 0", "You said: number 0"]
    assert said[-3].tool_calls == [{"id": "c", "name": "look", "arguments": {"where": "there"}}]
    assert (said[-2].role, said[-2].tool_call_id, said[-1].text) == ("tool", "c", "see")
    assert graph.get_state(config).values["messages"][-1].id == "odd"


@pytest.mark.parametrize(
    "odd",
    [
        [HumanMessage("odd", id="a\0b")],
        [HumanMessage("odd", id="")],
        [HumanMessage("odd", id=None)],
        [HumanMessage("twice", id="g1")],
        [AIMessage("", id="x", tool_calls=[{"id": None, "name": "look", "args": {"a": float("nan")}}])],
        [ChatMessage("odd", role="nobody", id="c")],
        ["text", {"role": "user", "content": "a dict"}, 7],
    ],
    ids=range(7),
)
def test_what_cannot_be_a_message_is_in_the_checkpoint_alone(odd: list[Any]) -> None:
    saver = SessileSaver(MemorySessionStore())
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    messages = [HumanMessage("good", id="g1"), *odd]
    for more in ([], [AIMessage("answer", id="g2")], [HumanMessage("more", id="g3")]):
        messages += more
        config = saver.put(config, {**empty_checkpoint(), "channel_values": {"messages": list(messages)}}, {}, {})
        assert len(saver.get(config)["channel_values"]["messages"]) == len(messages)  # type: ignore[index]
    said = [message.text for message in Session("t", store=saver.store).messages if message.text]
    assert [text for text in said if text != "odd"] == ["good", "answer", "more"]


def test_writes_that_come_before_their_checkpoint_are_found() -> None:
    """LangGraph stores them from threads of its own, in any order."""
    ours, theirs = SessileSaver(MemorySessionStore()), InMemorySaver()
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    checkpoint = empty_checkpoint()
    asked = {"configurable": {**config["configurable"], "checkpoint_id": checkpoint["id"]}}
    for saver in (ours, theirs):
        for number in range(40):
            if number == 10:
                saver.put(config, checkpoint, {}, {})
            saver.put_writes(asked, [("a", number)], f"task-{number:02}")
    assert ours.get_tuple(asked) == ours.get_tuple(config) == theirs.get_tuple(asked)
    assert len(ours.get_tuple(config).pending_writes or ()) == 40  # type: ignore[union-attr]


def test_prune_forgets_what_there_is_and_begins_nothing() -> None:
    saver = SessileSaver(MemorySessionStore())
    saver.prune(["unknown"])
    saver.delete_thread("unknown")
    saver.copy_thread("unknown", "other")
    assert [*SessionManager(saver.store).each()] == []
    config = saver.put({"configurable": {"thread_id": 5, "checkpoint_ns": ""}}, empty_checkpoint(), {}, {})
    saver.copy_thread(5, 6)  # type: ignore[arg-type]
    assert sorted(one.config["configurable"]["thread_id"] for one in saver.list(None)) == ["5", "6"]
    before = SessionManager(saver.store).list().items[0].version
    saver.prune(["5", "6"])
    assert SessionManager(saver.store).list().items[0].version == before
    assert saver.get_tuple(config) is not None


def test_threads_of_another_application_are_not_listed() -> None:
    store = MemorySessionStore()
    for app in ("shop", "bank"):
        graph_of(SessileSaver(store, app=app)).invoke({"messages": [("user", app)]}, {"configurable": {"thread_id": app}})
    assert {one.config["configurable"]["thread_id"] for one in SessileSaver(store, app="shop").list(None)} == {"shop"}
    assert len({one.config["configurable"]["thread_id"] for one in SessileSaver(store).list(None)}) == 2


def test_users_are_kept_apart() -> None:
    store = MemorySessionStore()
    ann, bob = SessileSaver(store, user_id="ann"), SessileSaver(store, user_id="bob")
    config = {"configurable": {"thread_id": "t"}}
    graph_of(ann).invoke({"messages": [("user", "secret")]}, config)
    for call in (bob.get_tuple, lambda c: [*bob.list(c)], lambda c: bob.delete_thread("t"), lambda c: bob.copy_thread("t", "u")):
        with pytest.raises(AccessDenied):
            call(config)
    assert [*bob.list(None)] == []
    assert len([*ann.list(None)]) == 3
    Session("not-of-langgraph", user_id="ann", store=store).add_message("user", "hello")
    assert len([*ann.list(None)]) == 3
    assert {hit.session_id for hit in SessionManager(store).search("secret", user_id="ann")} == {"t"}


def test_threads_that_put_at_once_lose_nothing() -> None:
    saver = SessileSaver(MemorySessionStore())

    async def main() -> None:
        graph = graph_of(saver)
        run = [graph.ainvoke({"messages": [("user", f"{n}")]}, {"configurable": {"thread_id": f"t-{n % 3}"}}) for n in range(30)]
        await asyncio.gather(*run)

    asyncio.run(main())
    said = [message.text for n in range(3) for message in Session(f"t-{n}", store=saver.store).messages if message.role == "user"]
    assert sorted(said, key=int) == [str(n) for n in range(30)]


_WRITER = """
import sys
from langchain_core.messages import AIMessage
from langgraph.checkpoint.base import empty_checkpoint
from sessile_langgraph import SessileSaver

saver = SessileSaver(sys.argv[1])
config = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
messages = [message for message in (saver.get(config) or {"channel_values": {"messages": []}})["channel_values"]["messages"]]
while True:
    messages += [AIMessage(f"{len(messages) + n}", id=f"m-{len(messages) + n}") for n in range(3)]
    config = saver.put(config, {**empty_checkpoint(), "channel_values": {"messages": messages}}, {}, {"messages": len(messages)})
    print(len(messages), flush=True)
"""


@pytest.mark.parametrize("url", URLS[1:])
def test_a_checkpoint_and_its_messages_are_there_together(url: str, tmp_path: Path) -> None:
    url = url.format(tmp_path)
    for _ in killed_while_it_writes(_WRITER, url):
        saver = SessileSaver(url)
        found = saver.get_tuple({"configurable": {"thread_id": "t"}})
        assert found is not None
        ids = [message.id for message in found.checkpoint["channel_values"]["messages"]]
        assert [message.id for message in Session("t", store=saver.store).messages] == ids
        assert len(ids) >= 6
        saver.close()
