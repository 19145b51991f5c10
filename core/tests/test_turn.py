"""What happens in a turn: middleware, context, tools, streaming, both faces."""

from __future__ import annotations

import asyncio
import enum
import inspect
from pathlib import Path
from typing import Any, Literal

import pytest
from tests.faces import FACES, opener

from sessile import Agent, AsyncSession, MemorySessionStore, Message, Request, Session, tool
from sessile.conversation.prompt import context
from sessile.conversation.prompt.past import PastTurn
from sessile.conversation.tools import Tool
from sessile.errors import Closed, InvalidInput, ModelError, SessileError, SessionExists


class Scripted:
    """A model that answers by a list, and keeps what it was asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.requests = list(answers), []

    def generate(self, request: Request) -> Any:
        self.requests.append(request)
        answer = self.answers.pop(0) if self.answers else "done"
        if request.emit is not None and isinstance(answer, str):
            request.emit(answer)
        return answer


class AsyncScripted(Scripted):
    async def generate(self, request: Request) -> Any:
        await asyncio.sleep(0)
        return super().generate(request)


def call(name: str, call_id: str = "c1", **arguments: Any) -> dict[str, Any]:
    return {"tool_calls": [{"id": call_id, "name": name, "arguments": arguments}]}


def session_with(model: Any, **options: Any) -> Session:
    store = options.pop("store", None) or MemorySessionStore()
    middleware = options.pop("middleware", ())
    return Session("s", store=store, agent=Agent(model=model, **options), middleware=middleware)


# -- middleware


def test_what_goes_down_is_stored_and_sent_and_what_comes_up_is_the_reply() -> None:
    def mask(turn: Any, call_next: Any) -> Any:
        turn.content = turn.content.replace("4711", "****")
        return call_next(turn)

    def sign(turn: Any, call_next: Any) -> Any:
        reply = call_next(turn)
        return reply.replace(content=f"{reply.content} --sessile")

    model = Scripted("ok")
    session = session_with(model, middleware=[mask, sign])
    assert session.chat("my pin is 4711") == "ok --sessile"
    assert model.requests[0].messages[-1].content == "my pin is ****"
    assert [m.content for m in session.messages] == ["my pin is ****", "ok --sessile"]


def test_a_middleware_may_answer_by_itself() -> None:
    model = Scripted()
    session = session_with(model, middleware=[lambda turn, call_next: "no comment"])
    assert session.chat("x") == "no comment"
    assert not model.requests
    assert [(m.role, m.content, m.open) for m in session.messages] == [("user", "x", False), ("assistant", "no comment", False)]


def test_blocking_and_async_middleware_mix_under_both_faces() -> None:
    async def async_mw(turn: Any, call_next: Any) -> str:
        await asyncio.sleep(0)
        return f"a({(await call_next(turn)).content})"

    def blocking_mw(turn: Any, call_next: Any) -> str:
        return f"b({call_next(turn).content})"

    async def after(message: str, response: str) -> str:
        return f"{message}>{response}"

    layers = [async_mw, blocking_mw, after, async_mw, blocking_mw]
    for model in (Scripted("r"), AsyncScripted("r")):
        assert session_with(model, middleware=layers).chat("m") == "a(b(m>a(b(r))))"

    async def main(model: Any) -> str:
        async with AsyncSession("s", store=MemorySessionStore(), agent=Agent(model=model), middleware=layers) as session:
            return await session.chat("m")

    for model in (Scripted("r"), AsyncScripted("r")):
        assert asyncio.run(main(model)) == "a(b(m>a(b(r))))"


def test_a_middleware_that_forgets_to_return_is_told() -> None:
    def forgetful(turn: Any, call_next: Any) -> None:
        call_next(turn)

    with pytest.raises(InvalidInput, match="middleware forgetful returned None"):
        session_with(Scripted(), middleware=[forgetful]).chat("x")


def test_a_middleware_sees_and_changes_the_stream() -> None:
    def shout(turn: Any, call_next: Any) -> Any:
        emit = turn.emit
        turn.emit = lambda piece: emit(piece.upper())
        reply = call_next(turn)
        return reply.replace(content=reply.content.upper())

    session = session_with("echo", middleware=[shout])
    assert list(session.stream("a b c")) == ["A ", "B ", "C"]
    assert session.messages[-1].content == "A B C"


def test_a_model_that_does_not_stream_yields_its_whole_reply() -> None:
    class Silent:
        def generate(self, request: Request) -> str:
            return "all at once"

    assert list(session_with(Silent()).stream("x")) == ["all at once"]


# -- tools


class Unit(enum.Enum):
    C = "celsius"
    F = "fahrenheit"


def test_the_schema_of_a_tool_comes_from_its_signature() -> None:
    def weather(
        city: str, days: int = 1, unit: Unit = Unit.C, kind: Literal["now", "later"] | None = None, tags: list[str] | None = None
    ) -> str:
        """The weather in a city."""
        return city

    made: Tool = tool(weather)
    assert (made.name, made.description) == ("weather", "The weather in a city.")
    assert made.parameters == {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer", "default": 1},
            "unit": {"enum": ["celsius", "fahrenheit"], "default": "celsius"},
            "kind": {"enum": ["now", "later"]},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["city"],
    }

    @tool(name="delete_all", risky=True)
    def delete() -> None: ...

    assert (delete.name, delete.risky) == ("delete_all", True)
    with pytest.raises(InvalidInput, match="function is 7: pass a function"):
        tool(7)


@pytest.mark.parametrize("is_async", [False, True])
def test_tools_are_run_and_their_results_are_kept_and_sent(is_async: bool) -> None:
    def add(a: int, b: int) -> int:
        return a + b

    async def async_add(a: int, b: int) -> int:
        await asyncio.sleep(0)
        return a + b

    model = Scripted(call("add", a=2, b=3), "five")
    session = session_with(model, tools=[tool(async_add, name="add") if is_async else add])
    assert session.chat("2+3?") == "five"
    assert [m.role for m in session.messages] == ["user", "assistant", "tool", "assistant"]
    assert len({m.turn for m in session.messages}) == 1
    result = model.requests[1].messages[-1]
    assert (result.content, result.tool_call_id, result.name) == ("5", "c1", "add")
    again = Session("s", store=session.store)
    assert again.messages[1].tool_calls == [{"id": "c1", "name": "add", "arguments": {"a": 2, "b": 3}}]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (call("nothing"), "Error: there is no tool 'nothing'; there are: div"),
        (call("div", a=1), "Error: div cannot be called so: missing a required argument: 'b'"),
        (call("div", a=1, b=0), "Error: ZeroDivisionError: float division by zero"),
        (call("div", a=1, b=2), "0.5"),
    ],
)
def test_what_goes_wrong_in_a_tool_is_the_models_to_hear(asked: Any, expected: str) -> None:
    def div(a: float, b: float) -> float:
        return a / b

    model = Scripted(asked, "well")
    assert session_with(model, tools=[div]).chat("x") == "well"
    assert model.requests[1].messages[-1].content == expected


def test_a_model_that_only_calls_tools_is_stopped() -> None:
    model = Scripted(*[call("f", f"c{n}") for n in range(9)])
    with pytest.raises(ModelError, match="called tools 3 times without an answer"):
        session_with(model, tools=[tool(lambda: "x", name="f")], max_steps=3).chat("x")


# -- context


def said(role: str, content: str | None, turn: str | None = None, **more: Any) -> Message:
    return Message({"role": role, "content": content, **({"turn": turn} if turn else {}), **more})


def test_the_window_and_the_budget_keep_whole_turns() -> None:
    history = [PastTurn(said("user", f"user{n}", turn=f"t{n}"), f"t{n}") for n in range(10)]
    for n, turn in enumerate(history):
        turn.add(said("assistant", f"assistant{n}", turn=f"t{n}"))
    prompt = context.prompt
    current = [said("user", "now")]
    assert len(prompt(history, current, window=6)) == 5  # two whole turns and the question
    assert [m.content for m in prompt(history, current, window=1)] == ["now"]
    assert [m.content for m in prompt(history, current, instructions="be brief", window=3)] == [
        "be brief",
        "user9",
        "assistant9",
        "now",
    ]
    assert len(prompt(history, current, budget=40)) == 5
    assert len(prompt(history, current, budget=1)) == 1


def test_the_agents_window_reaches_the_model() -> None:
    model = Scripted()
    session = session_with(model, window=3, instructions="be brief", options={"temperature": 0.5})
    session.add_messages([("user" if n % 2 == 0 else "assistant", str(n)) for n in range(1000)])
    session.chat("now")
    assert [m.content for m in model.requests[0].messages] == ["be brief", "998", "999", "now"]
    assert model.requests[0].options == {"temperature": 0.5}


# -- faces


ONE_FACE_ONLY = {"blocking"}  # the session for code that cannot await


def public(face: type) -> dict[str, Any]:
    """By its name, what each public attribute of a face is: the parameters of a method, or the kind of another."""
    found = {name: getattr(face, name) for name in dir(face) if not name.startswith("_")}
    return {n: [*inspect.signature(value).parameters] if callable(value) else type(value) for n, value in found.items()}


def test_both_faces_have_the_same_names() -> None:
    blocking, awaited = public(Session), public(AsyncSession)
    assert blocking.keys() ^ awaited.keys() == ONE_FACE_ONLY
    assert blocking == {name: kind for name, kind in awaited.items() if name not in ONE_FACE_ONLY}


@pytest.mark.parametrize("face", FACES)
def test_each_face_names_describes_and_loads_a_session(face: str, tmp_path: Path) -> None:
    url = f"file://{tmp_path / 'sessions'}"
    loop = asyncio.new_event_loop()
    session = opener(face, loop)("s", store=MemorySessionStore())
    session.add_message("user", "a")
    session.set_title("T")
    session.set_metadata({"k": 1})
    assert (session.title, session.metadata) == ("T", {"k": 1})

    cls, settled = (Session, lambda value: value) if face == "blocking" else (AsyncSession, loop.run_until_complete)
    copied = cls.from_dict(session.to_dict())
    assert [m.text for m in settled(copied.messages)] == ["a"]
    loaded = settled(cls.load(session.save(tmp_path / "saved"), store=url))
    assert (type(loaded), [m.text for m in settled(loaded.messages)]) == (cls, ["a"])
    exported = session.export(tmp_path / "exported")
    with pytest.raises(SessionExists):
        settled(cls.load(exported, store=url))
    settled(loaded.close())
    with pytest.raises(Closed):  # a session that could not be loaded was closed: nobody has the store open
        loaded.store.load("s")
    loop.close()


def test_the_async_face_does_it_all() -> None:
    async def main() -> None:
        store = MemorySessionStore()
        async with AsyncSession("s", store=store, agent=Agent(model=Scripted("hi")), user_id="ann") as session:
            assert await session.chat("hello") == "hi"
            await session.add_messages([("user", "a"), ("assistant", "b")])
            assert await session.message_count == 4
            assert [m.content for m in await session.get_history(2)] == ["a", "b"]
            await session.set_state("k", 1)
            await session.set_state("user:lang", "en")
            assert await session.state == {"k": 1, "user:lang": "en"}
            await asyncio.gather(*[session.increment_state("n") for _ in range(20)])
            assert await session.get_state("n") == 20
            await session.set_title("T")
            assert (await session.title, await session.status) == ("T", "active")
            assert [piece async for piece in session.stream("bye")] == ["done"]
            assistant = session.Agent("Second", model=Scripted("second"))
            assert await assistant.chat("x") == "second"
        with Session("s", store=store) as blocking:
            assert (blocking.user_id, blocking.title, blocking.message_count) == ("ann", "T", 8)

    asyncio.run(main())


def test_many_tasks_on_one_handle_lose_nothing() -> None:
    async def main() -> list[str]:
        async with AsyncSession("s", store=MemorySessionStore()) as session:
            await asyncio.gather(*[session.add_message("user", str(n)) for n in range(100)])
            return [m.content for m in await session.messages]

    assert sorted(asyncio.run(main()), key=int) == [str(n) for n in range(100)]


def test_a_blocking_session_that_would_wait_for_itself_says_so() -> None:
    class AsyncStore(MemorySessionStore):
        async def load(self, session_id: str) -> Any:  # type: ignore[override]
            return super().load(session_id)

    class Plugin:
        async def on_user_message(self, session: Any) -> None:
            users.get_state("k")

    session = users = Session("s", store=AsyncStore(), plugins=[Plugin()], strict=True)
    with pytest.raises(SessileError, match="use an AsyncSession there"):
        session.add_message("user", "x")


def test_a_blocking_session_works_inside_an_event_loop() -> None:
    async def main() -> str:
        return session_with(AsyncScripted("fine")).chat("x")

    assert asyncio.run(main()) == "fine"


def test_a_result_that_no_call_precedes_is_not_sent() -> None:
    sent: list[str] = []

    class Model:
        def generate(self, request: Request) -> str:
            sent.extend(said.role for said in request.messages)
            return "fine"

    with Session("s", store=MemorySessionStore(), agent=Agent(model=Model())) as session:
        session.add_messages([("user", "one"), {"role": "tool", "content": "lost", "tool_call_id": "x"}, ("assistant", "two")])
        session.chat("three")
    assert sent == ["user", "assistant", "user"]
