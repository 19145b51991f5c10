"""A turn: everything that happens between a user's message and the reply.

1. middleware in  2. the user's message is committed  3. build_context  4. the model and its tools  5. middleware out
6. the reply is committed  7. observers. Whatever fails, and whenever: the user's message stays, what a stream had
brought is kept as an interrupted reply, `on_turn_error` runs, and the error is raised.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from sessile.conversation.messages import Message, ToolCall, draft, from_entry, handed_out, message
from sessile.conversation.model import Request
from sessile.conversation.prompt.past import unanswered
from sessile.conversation.taking import as_messages
from sessile.conversation.tools import Tool, error_text, named, result_text
from sessile.conversation.turn import AgentLike, Sent, Sink, Speaker, Turn
from sessile.drive.faces import is_async
from sessile.engine.asking import answer, build_prompt, recall, whole_text
from sessile.engine.automatic import after_turn, before_tools
from sessile.engine.handle import Handle
from sessile.engine.history import get_history, observe
from sessile.errors import InvalidInput, ModelError, PluginError, TurnInterrupted
from sessile.log.encoding import JSON, copied
from sessile.log.entries import Entry
from sessile.log.header import Header
from sessile.log.stamping import Change, Draft
from sessile.plugins.middleware import run_onion


async def chat(h: Handle, /, content: JSON, *, agent: Speaker | None = None, metadata: Mapping[str, JSON] | None = None) -> str:
    """Say something and return the agent's reply as text. metadata: JSON values that are stored with the message.

    Raises what the model, a middleware or the store raised; the message is stored by then, and saying the same again goes on
    with it, and with what tools did, instead of storing it twice.
    """
    return (await take_turn(h, message("user", content, metadata), agent=agent)).text


async def take_turn(
    h: Handle,
    question: Message,
    *,
    agent: Speaker | None = None,
    sink: Sink | None = None,
    left: Callable[[], bool] = lambda: False,
) -> Message:
    """One whole turn, and its stored reply. sink: is given each piece of the answer as it arrives. left: is its reader gone?"""
    agent = agent or h.session.agent
    turn = Turn(h.session, agent, question, sink is not None, _discard, left=left)
    if sink is not None:
        turn.emit = functools.partial(_emit, sink, turn.arrived)
    header = await h.open()
    if not header.version:
        await h.past(header, None)  # nothing to read yet; what is said from now on is kept, not read back
    if not h.once.is_done(agent):
        await h.once.do(h.face, agent, functools.partial(_greet, h, agent), h.timeout)
    try:
        return await _finish(h, turn, await _through_layers(h, turn))
    except BaseException as error:
        await _abandon(h, turn, error)
        raise


def _discard(_: str) -> None:
    pass


def _emit(sink: Sink, arrived: list[str], chunk: str) -> None:
    if not isinstance(chunk, str):
        raise ModelError(f"a model streams pieces of text: emit was given {chunk!r:.60}")
    arrived.append(chunk)  # first: a reader may end the turn as soon as it has this
    try:
        sink(chunk)
    except BaseException:
        arrived.pop()  # what a reader never got has not arrived
        raise


async def _through_layers(h: Handle, turn: Turn) -> Message:
    """The reply that comes out of the onion, which runs on an event loop where one of its layers is async."""
    layers = await _layers(h)
    if h.face.awaits or not any(map(is_async, layers)):
        return await run_onion(h.face, layers, turn, functools.partial(_answer, h))
    inside: Handle = h.session._seen_by(True)._handle
    reply: Message = await h.face.call(run_onion, inside.face, layers, turn, functools.partial(_answer, inside))
    return reply


async def _layers(h: Handle) -> Sequence[Callable[..., Any]]:
    """The middleware of the plugins, which are asked once for each handle, and the session's own."""
    if h.layers is None:
        found = await h.once.do(h.face, "middleware", functools.partial(h.hook, "middleware"), h.timeout)
        if found is None:  # it is a plugin that speaks, as it is asked for its own
            return h.middleware
        h.layers = [*(layer for layers in found for layer in layers), *h.middleware]
    return h.layers


async def _greet(h: Handle, agent: AgentLike) -> None:
    """Call `on_agent_start` for an agent that begins to speak, and store what it resumes with where nothing is said yet."""
    header = await h.open()
    arguments = {"agent": agent, "agent_name": agent.name, "user_id": header.user_id, "metadata": copied(header.metadata)}
    resumed = next((messages for messages in await h.hook("on_agent_start", **arguments) if messages), None)
    if resumed:
        change = Change([*map(draft, as_messages(resumed))])
        entries = await h.commit(lambda header: None if header.count else change)
        await observe(h, handed_out(map(from_entry, entries)))


async def _answer(h: Handle, turn: Turn) -> Message:
    """The inside of the onion: from the user's message to the model's final answer."""
    if turn.answering:
        raise InvalidInput("call_next was called while an earlier call is under way: await that first, or cancel and await it")
    turn.answering = True
    try:
        await _store_question(h, turn)
        return await _ask(h, turn)
    finally:
        turn.answering = False


async def _ask(h: Handle, turn: Turn) -> Message:
    agent = turn.agent
    model = agent.find_model(h.plugins)
    tools = named(agent.tools, agent.name)
    if turn.recalled_for is None or turn.recalled_for != (agent, turn.message):
        turn.recalled, turn.recalled_for = await recall(h, turn, model), (agent, turn.message)
    for turn.step in range(agent.max_steps):
        _check_reader(turn)
        turn.prompt = await build_prompt(h, turn, model)
        turn.arrived.clear()
        turn.reported = None
        emit = turn.emit if turn.streaming else None
        request = Request(messages=turn.prompt, tools=tuple(tools.values()), emit=emit, options=dict(agent.options))
        reply = await answer(h.face, model, request, turn)
        if not reply.tool_calls:
            return reply
        risky = [call["name"] for call in reply.tool_calls if call["name"] in tools and tools[call["name"]].risky]
        if risky:
            await before_tools(h, risky)
        await _store(h, turn, [draft(reply, turn.id)])
        turn.arrived.clear()  # it is stored, with the calls
        for call in reply.tool_calls:
            _check_reader(turn)
            await _store(h, turn, [draft(await _run_tool(h, tools, call), turn.id)])
    raise ModelError(
        f"agent {agent.name!r} called tools {agent.max_steps} times without an answer: raise max_steps, or check what the tools "
        "return"
    )


def _check_reader(turn: Turn) -> None:
    """`TurnInterrupted` where nobody reads along any more: no tool is called then, and no model asked."""
    if turn.left():
        raise TurnInterrupted("the reader of the stream is gone")


async def _store_question(h: Handle, turn: Turn) -> None:
    await _find_out_if_landed(h, turn)  # a middleware may call again after a commit whose outcome is unknown
    again = bool(turn.said)
    drafts = await _unsaid(h, turn)
    if again and turn.asked != turn.message:  # the attempt before this one asked something else
        drafts.append(draft(turn.message, turn.id))
    turn.asked = turn.message
    if drafts:
        await _store(h, turn, drafts)


async def _unsaid(h: Handle, turn: Turn) -> list[Draft]:
    """What the turn still has to store before it goes on: the question, or results of tool calls that were cut off."""
    if not turn.said and not await _goes_on(h, turn):
        turn.asked = turn.message
        return [draft(turn.message, turn.id, turn.id)]
    lost = unanswered(turn.said)
    if not lost:
        return []
    text = "Error: this call was cut off; whether it took effect is not known"
    return [draft(message("tool", text, tool_call_id=call["id"], name=call["name"]), turn.id) for call in lost]


async def _goes_on(h: Handle, turn: Turn) -> bool:
    """Is this the same question as in the turn that failed last, with nothing stored since? Then continue that turn."""
    with h.lock:  # one turn goes on with it
        failed, h.unanswered = h.unanswered, None
    if failed is None or failed.asked != turn.message:
        return False
    try:
        goes_on = await _is_last(h, failed)
    except BaseException:
        h.unanswered = failed  # it may be stored
        raise
    if goes_on:
        turn.id, turn.began, turn.said, turn.asked = failed.id, failed.began, [*failed.said], failed.asked
        turn.below = _oldest(h.seen)
    return goes_on


async def _is_last(h: Handle, turn: Turn) -> bool:
    """Is the last thing that was said the turn's, and not its reply?"""
    await _find_out_if_landed(h, turn)
    await h.refresh_for_change()
    last = [said.id for said in turn.said[-1:]]
    return bool(last) and turn.reply is None and [said.id for said in await get_history(h, 1)] == last


async def _store(h: Handle, turn: Turn, drafts: Sequence[Draft], *, final: bool = False) -> None:
    entries = await h.commit(functools.partial(_next, turn, drafts, final))
    await _landed(h, turn, final, entries)


async def _landed(h: Handle, turn: Turn, final: bool, entries: Sequence[Entry]) -> None:
    if turn.began is None or entries[0].turn != turn.id:
        turn.id, turn.began = entries[0].turn or turn.id, entries[0].position
    stored = handed_out(map(from_entry, entries))
    if final:
        turn.reply = stored[-1]  # first: nothing is kept of an answer that is stored
    turn.said += stored
    turn.sent = None
    await observe(h, stored)  # last: what an observer raises under `strict` must not store anything twice


async def _find_out_if_landed(h: Handle, turn: Turn) -> None:
    """Find out whether a commit has landed that a cancellation, a signal or the store cut short: it is not made twice."""
    sent = turn.sent
    if sent is None:
        return
    known = {said.id for said in turn.said}
    header, entries = await h.commits.stored(sent.log, sent.start, {said.id for said in sent.drafts} - known)
    if header is not None:  # nobody else has committed since
        h.see(header)
    if not entries:
        turn.sent = None
        return
    if any(said.body["role"] == "assistant" for said in sent.drafts):
        turn.arrived.clear()  # it is in what was stored
    await _landed(h, turn, sent.final, entries)


def _next(turn: Turn, drafts: Sequence[Draft], final: bool, header: Header) -> Change:
    """The change that stores a turn's next messages. If the turn's beginning was reverted meanwhile, they form a new turn."""
    turn.sent = Sent(drafts, header.log, header.head, final)
    if (
        turn.began is None
        or header.counts(header.depth, turn.began)
        or (turn.below is not None and turn.below == _oldest(header))
    ):
        return Change(drafts)
    return Change([attrs.evolve(said, turn=drafts[0].id) for said in drafts])


def _oldest(header: Header | None) -> tuple[int, int] | None:
    """Where the oldest range begins that a header names, if there are older ones: these count as long as it stays there."""
    return (header.segments[0].depth, header.segments[0].start) if header is not None and header.older else None


async def _run_tool(h: Handle, tools: dict[str, Tool], call: ToolCall) -> Message:
    """Run a tool call. What goes wrong in it is the model's to hear: it becomes the result."""
    name, arguments = call["name"], call["arguments"]
    metadata = {}
    if name not in tools:
        result = f"Error: there is no tool {name!r}; there are: {', '.join(tools) or 'none'}"
    elif isinstance(bound := tools[name].bind(arguments), str):
        result = f"Error: {name} cannot be called so: {bound}"
    else:
        try:
            result = result_text(await h.face.call(tools[name].function, *bound.args, **bound.kwargs))
        except Exception as error:
            result = f"Error: {type(error).__name__}: {error_text(error)}"
            metadata = {"error": type(error).__name__}
    return message("tool", result, metadata, tool_call_id=call["id"], name=name)


async def _finish(h: Handle, turn: Turn, reply: Message) -> Message:
    await _find_out_if_landed(h, turn)
    await _store(h, turn, [*await _unsaid(h, turn), draft(reply, turn.id)], final=True)
    reply = turn.said[-1]
    if h.checkpoint_interval or h.plugins.implementations("want_snapshot"):
        await after_turn(h, turn)
    return reply


async def _abandon(h: Handle, turn: Turn, error: BaseException) -> None:
    """Keep what there is of a turn that failed, and tell the observers.

    Never hides the error it is called for, unless a plugin failed under `strict`, whose error is chained to it.
    """
    failed: PluginError | None = None
    try:
        await _keep(h, turn)
    except PluginError as second:
        failed = second
    except Exception as second:
        error.__context__ = second
    if not isinstance(error, TurnInterrupted):
        try:
            await h.hook("on_turn_error", turn=turn, error=error)
        except PluginError as second:
            failed = second
    if failed is not None and isinstance(error, Exception):
        raise failed


async def _keep(h: Handle, turn: Turn) -> None:
    """Store the part of the answer that arrived. A turn without an answer can be continued by asking the same question again."""
    try:
        await _find_out_if_landed(h, turn)
        if turn.arrived and turn.reply is None:
            about = {"interrupted": True, **({"usage": turn.reported} if turn.reported else {})}
            partial = message("assistant", whole_text(turn.arrived), about)
            await _store(h, turn, [draft(partial, turn.id)], final=True)
    finally:
        if turn.reply is None and (turn.said or turn.sent is not None):
            h.unanswered = turn
