"""Plugins: order, blocking, registering, isolation, objects without marks, files, and what every hook is given."""

from __future__ import annotations

import asyncio
import gc
import inspect
import re
import sys
import types
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from sessile import Agent, AsyncSession, MemorySessionStore, Session, hookimpl
from sessile.drive.faces import Blocking, run
from sessile.errors import InvalidInput, NotInstalled, PluginError
from sessile.plugins import hookspecs
from sessile.plugins.active import Plugins
from sessile.plugins.discovery import parse_options
from sessile.plugins.registry import Registry


def session_with(*plugins: object, **options: Any) -> Session:
    return Session("s", store=MemorySessionStore(), agent=Agent(model="echo"), plugins=plugins, **options)


def test_last_registered_first_called_and_the_marks_change_that() -> None:
    called: list[str] = []

    def plugin(name: str, **options: bool) -> object:
        class Plugin:
            @hookimpl(**options)
            def on_user_message(self) -> None:
                called.append(name)

        return Plugin()

    session_with(plugin("one"), plugin("last", trylast=True), plugin("two"), plugin("first", tryfirst=True)).chat("x")
    assert called == ["first", "two", "one", "last"]


def test_a_wrapper_is_around_the_others() -> None:
    called: list[str] = []

    class Wrapper:
        @hookimpl(wrapper=True)
        def on_user_message(self) -> Iterator[None]:
            called.append("before")
            yield
            called.append("after")

    class Plain:
        @hookimpl
        def on_user_message(self) -> None:
            called.append("plain")

    session_with(Plain(), Wrapper()).chat("x")
    assert called == ["before", "plain", "after"]


def test_every_hook_is_given_what_its_spec_says() -> None:
    seen: dict[str, dict[str, Any]] = {}

    class Everything:
        def on_agent_start(self, agent, agent_name, session, session_id, user_id, metadata):  # type: ignore[no-untyped-def]
            seen["on_agent_start"] = locals()

        def on_user_message(self, session, session_id, message, content, metadata):  # type: ignore[no-untyped-def]
            seen["on_user_message"] = locals()

        def on_agent_message(self, session, session_id, message, content, metadata):  # type: ignore[no-untyped-def]
            seen["on_agent_message"] = locals()

        def on_turn_error(self, session, session_id, turn, error):  # type: ignore[no-untyped-def]
            seen["on_turn_error"] = locals()

        def build_context(self, session, turn, messages):  # type: ignore[no-untyped-def]
            seen["build_context"] = locals()

        def recall(self, session, turn, room):  # type: ignore[no-untyped-def]
            seen["recall"] = locals()

        def middleware(self, session):  # type: ignore[no-untyped-def]
            seen["middleware"] = locals()

        def save_state(self, session, session_id, state):  # type: ignore[no-untyped-def]
            seen["save_state"] = locals()

        def restore_state(self, session, session_id):  # type: ignore[no-untyped-def]
            seen["restore_state"] = locals()
            return {"from": "hook"}

        def want_snapshot(self, session, session_id, turn):  # type: ignore[no-untyped-def]
            seen["want_snapshot"] = locals()

        def on_session_close(self, session, session_id):  # type: ignore[no-untyped-def]
            seen["on_session_close"] = locals()

    session = session_with(Everything(), user_id="ann", metadata={"k": 1})
    session.chat("hello")
    session.save_state({"a": 1})
    assert session.restore_state() == {"from": "hook"}
    assert session.get_state() == {"from": "hook"}
    with pytest.raises(Exception, match="boom"):
        session.chat("x", agent=Agent(model=_Boom()))
    session.close()
    for hook, given in seen.items():
        assert given.get("session_id", "s") == "s", hook
        assert given["session"] is session, hook
    assert seen["on_agent_start"]["user_id"] == "ann"
    assert seen["on_agent_start"]["metadata"] == {"k": 1}
    assert (seen["on_user_message"]["content"], seen["on_user_message"]["metadata"]) == ("x", {})
    assert seen["on_agent_message"]["message"].role == "assistant"
    assert seen["build_context"]["messages"][-1].content == "x"
    assert 0 < seen["recall"]["room"].tokens < 8000
    assert seen["save_state"]["state"] == {"a": 1}
    assert str(seen["on_turn_error"]["error"]) == "boom"
    assert seen["on_turn_error"]["turn"].message.content == "x"
    unseen = set(hookspecs.HOOKS) - set(seen)
    assert unseen == {"register", "register_commands", "on_session_delete"}  # of the last: see test_told_of_deletion.py


class _Boom:
    def generate(self, request: Any) -> str:
        raise RuntimeError("boom")


def test_context_goes_through_all_plugins() -> None:
    class Memory:
        async def build_context(self, messages: list[Any]) -> list[Any]:
            return [messages[-1].replace(content=messages[-1].content + "+memory")]

    class Broken:
        def build_context(self) -> list[Any]:
            raise ValueError("oops")

    class Profile:
        def build_context(self, messages: list[Any]) -> list[Any]:
            return [messages[-1].replace(content=messages[-1].content + "+profile")]

    assert session_with(Profile(), Broken(), Memory()).chat("x") == "x+memory+profile"


def test_a_plugin_adds_middleware_outside_of_the_sessions_own() -> None:
    class Plugin:
        def middleware(self, session: Any) -> Any:
            return [lambda turn, call_next: f"1{call_next(turn).content}", lambda turn, call_next: f"2{call_next(turn).content}"]

    session = session_with(Plugin(), middleware=[lambda turn, call_next: f"3{call_next(turn).content}"])
    assert session.chat("x") == "123x"


def test_plugins_are_listed_blocked_and_never_called_then() -> None:
    found = Plugins(blocked=["sqlite"])
    states = {info.name: info.status for info in found.infos()}
    assert states["sqlite"] == "blocked"
    assert states["file"] == states["builtin"] == "active"
    with pytest.raises(NotInstalled, match="no store named 'sqlite'"):
        found.registry.find("store", "sqlite")
    (info,) = [info for info in found.infos() if info.name == "file"]
    assert (info.distribution, info.hooks, info.registers) == ("sessile-file", ("register",), ("store:file",))


def test_of_two_plugins_with_one_name_both_are_listed() -> None:
    class Mine:
        def on_user_message(self) -> None: ...

    found = Plugins(discover=False)
    assert found.add(Mine(), "mine").status == "active"
    assert found.add(Mine(), "mine").status == "broken"
    for plugins in (found, Plugins(base=found)):
        first, second = [info for info in plugins.infos() if info.name == "mine"]
        assert (first.status, first.hooks, first.error) == ("active", ("on_user_message",), "")
        assert second.status == "broken"
        assert "another plugin has this name" in second.error


def test_a_broken_plugin_is_disabled_and_the_others_work(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        @hookimpl
        def register(self, registry: Registry) -> None:
            registry.add("model", "half", "x:y")
            registry.add("shop", "x", "y:z")

    class Unknown:
        @hookimpl
        def on_user_message(self, colour: str) -> None: ...

    found = Plugins()
    for plugin in (Broken(), Unknown()):
        assert found.add(plugin).status == "broken"
    assert "kind 'shop' of 'x' does not exist" in caplog.text
    assert found.registry.load("model", "echo")
    with pytest.raises(InvalidInput, match=r"(?s)cannot be used: .*colour"):
        session_with(Unknown())
    assert not [entry for entry in found.registry.entries if "Broken" in entry.plugin]


def test_a_local_file_is_a_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "shout.py"
    file.write_text(
        "from sessile import hookimpl\n\n"
        "@hookimpl\ndef middleware(session):\n    return lambda turn, call_next: call_next(turn).content.upper()\n"
    )
    assert session_with(str(file)).chat("hello") == "HELLO"
    monkeypatch.setenv("SESSILE_PLUGINS", f"{file},no:sqlite")
    found = Plugins(blocked=["sqlite"], extra=[str(file)])
    assert {"shout": "active", "sqlite": "blocked"}.items() <= {i.name: i.status for i in found.infos()}.items()
    with pytest.raises(NotInstalled, match="there is no plugin file"):
        session_with(str(tmp_path / "none.py"))
    assert parse_options(["no:a", " b.py", ""]) == (["a"], ["b.py"])


def test_the_registry_imports_on_first_use_and_the_latest_name_wins() -> None:
    registry = Registry()
    registry.add("model", "m", "json:nothing", aliases=["n"])
    registry.add("model", "m", "json:dumps")
    assert registry.load("model", "m")([1]) == "[1]"
    assert registry.load_attribute("dumps")
    with pytest.raises(AttributeError):
        registry.load("model", "n")
    with pytest.raises(NotInstalled, match="pip install sessile-redis"):
        registry.load_attribute("RedisSessionStore")
    with pytest.raises(ValueError, match="module:attribute"):
        registry.add("model", "m", "json.dumps")


# -- results that a hook cannot have, wrappers, marks


class Returns:
    """A plugin whose hook returns something, and that can be told by its name in a log."""

    def __init__(self, hook: str, result: Any) -> None:
        setattr(self, hook, self.answer)
        self.result = result

    def answer(self) -> Any:
        return self.result


def chat(face: type, *plugins: object, **options: Any) -> str:
    if face is Session:
        return session_with(*plugins, **options).chat("x")

    async def main() -> str:
        async with AsyncSession(
            "s", store=MemorySessionStore(), agent=Agent(model="echo"), plugins=plugins, **options
        ) as session:
            return str(await session.chat("x"))

    return asyncio.run(main())


BAD_RESULTS = [
    ("build_context", "text"),
    ("build_context", []),
    ("build_context", [7]),
    ("build_context", {"role": "user", "content": "x"}),
    ("build_context", [{"role": "robot", "content": "x"}]),
    ("middleware", 7),
    ("middleware", [7]),
    ("middleware", lambda only: only),
    ("on_agent_start", "text"),
    ("on_agent_start", [{"content": "x"}]),
    ("on_agent_start", {"role": "user", "content": "x"}),
    ("want_snapshot", 7),
]


@pytest.mark.parametrize("face", [Session, AsyncSession])
@pytest.mark.parametrize(("hook", "result"), BAD_RESULTS)
def test_a_result_that_a_hook_cannot_have_is_reported_as_its_failure(
    face: type, hook: str, result: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert chat(face, Returns(hook, result)) == "x"
    assert re.search(f"plugin 'Returns-.*' failed in hook '{hook}'", caplog.text)
    with pytest.raises(PluginError, match=f"plugin 'Returns-.*' failed in hook '{hook}'"):
        chat(face, Returns(hook, result), strict=True)


def test_a_state_to_restore_that_is_none_is_reported_and_the_next_plugin_asked(caplog: pytest.LogCaptureFixture) -> None:
    session = session_with(Returns("restore_state", {"k": 1}), Returns("restore_state", [1]))
    assert session.restore_state() == {"k": 1}
    assert "failed in hook 'restore_state'" in caplog.text


@pytest.mark.parametrize("face", [Session, AsyncSession])
def test_a_wrapper_is_around_a_prompt_too(face: type) -> None:
    class Wrapper:
        def __init__(self, result: Any = None) -> None:
            self.result = result

        @hookimpl(wrapper=True)
        def build_context(self, messages: list[Any]) -> Iterator[None]:
            assert messages[-1].content == "x"
            built = yield
            assert built[-1].content == "x+plain"
            built.append("changed in place")
            return self.result and self.result(built[:-1])

    class Plain:
        def build_context(self, messages: list[Any]) -> list[Any]:
            return [messages[-1].replace(content=f"{messages[-1].content}+plain")]

    def louder(built: list[Any]) -> list[Any]:
        return [built[-1].replace(content=f"{built[-1].content}!")]

    assert chat(face, Plain(), Wrapper(), strict=True) == "x+plain"
    assert chat(face, Plain(), Wrapper(louder), strict=True) == "x+plain!"
    with pytest.raises(PluginError, match="'build_context'"):
        chat(face, Plain(), Wrapper(lambda built: [7]), strict=True)
    assert chat(face, Plain(), Wrapper(lambda built: [7])) == "x+plain"


@pytest.mark.parametrize("yields", [0, 2])
def test_a_wrapper_yields_once(yields: int, caplog: pytest.LogCaptureFixture) -> None:
    left: list[str] = []

    class Wrapper:
        @hookimpl(wrapper=True)
        def build_context(self) -> Iterator[None]:
            try:
                for _ in range(yields):
                    yield
            finally:
                left.append("left")

    assert chat(Session, Wrapper()) == "x"
    assert "a wrapper yields once" in caplog.text
    with pytest.raises(PluginError, match="yields once"):
        chat(Session, Wrapper(), strict=True)
    assert left == ["left"] * 2


@pytest.mark.parametrize("face", [Session, AsyncSession])
def test_what_a_failing_plugin_changed_in_the_prompt_does_not_stay(face: type) -> None:
    class Changes:
        def __init__(self, fails: bool) -> None:
            self.fails = fails

        def build_context(self, messages: list[Any]) -> None:
            messages.append({"role": "user", "content": "in place"})
            if self.fails:
                raise ValueError("oops")

    assert chat(face, Changes(fails=True), Changes(fails=False)) == "x"


@pytest.mark.parametrize("face", [Session, AsyncSession])
def test_middleware_is_asked_for_once_a_handle(face: type) -> None:
    asked: list[str] = []

    class Plugin:
        def middleware(self, session_id: str = "none") -> Any:
            asked.append(session_id)
            return lambda turn, call_next: call_next(turn)

    store, agent = MemorySessionStore(), Agent(model="echo")
    if face is Session:
        session = Session("s", store=store, agent=agent, plugins=[Plugin()])
        for _ in range(3):
            session.chat("x")
        session.fork().chat("y")
    else:

        async def main() -> None:
            async with AsyncSession("s", store=store, agent=agent, plugins=[Plugin()]) as session:
                for _ in range(3):
                    await session.chat("x")
                await (await session.fork()).chat("y")

        asyncio.run(main())
    assert len(asked) == 2


def test_marked_and_unmarked_methods_of_one_object_both_count() -> None:
    seen: list[str] = []

    class Both:
        @hookimpl
        def on_user_message(self, content: str) -> None:
            seen.append(content)

        def on_agent_message(self, *, content: str) -> None:
            seen.append(f"reply {content}")

    session_with(Both(), strict=True).chat("x")
    assert seen == ["x", "reply x"]


def test_all_arguments_are_received_by_name() -> None:
    seen: dict[str, set[str]] = {}

    class Everything:
        def on_user_message(self, content: str, **arguments: Any) -> None:
            seen["on_user_message"] = {"content", *arguments}

        def build_context(self, **arguments: Any) -> None:
            seen["build_context"] = {*arguments}

    session_with(Everything(), strict=True).chat("x")
    for hook, names in seen.items():
        assert names == {*inspect.signature(getattr(hookspecs, hook)).parameters}
    assert len(seen) == 2


def module_of(text: str) -> types.ModuleType:
    module = types.ModuleType("a_module")
    exec(text, module.__dict__)
    return module


class Classes:
    def on_user_message(self) -> None: ...


class Misspelt:
    def on_user_mesage(self) -> None: ...


class OldWrapper:
    @hookimpl(hookwrapper=True)
    def on_user_message(self) -> Iterator[None]:
        yield


class KeywordOnly:
    def on_user_message(self, *, colour: str) -> None: ...


class AsyncRegister:
    async def register(self, registry: Registry) -> None: ...


MARKED = "from sessile import hookimpl\n@hookimpl\n"


@pytest.mark.parametrize(
    ("plugin", "why"),
    [
        (module_of(MARKED + "def on_user_mesage(content): ..."), "no hook has this name: did you mean 'on_user_message'"),
        (module_of(MARKED + "def colour(content): ..."), "no hook has this name: there are register, "),
        (module_of("def build_context(messages): ..."), "has no hook, but a function 'build_context' without a mark"),
        (module_of(""), "has no hook"),
        (Misspelt(), "has no hook, but 'on_user_mesage': did you mean 'on_user_message'"),
        (object(), "has no hook"),
        (7, "has no hook"),
        (Classes, r"Classes is a class: pass an object of it, Classes\(\)"),
        (OldWrapper(), "use wrapper=True"),
        (KeywordOnly(), "colour"),
        (AsyncRegister(), "register is a plain function"),
    ],
)
def test_what_can_be_no_plugin_is_refused_and_the_reason_said(plugin: object, why: str) -> None:
    with pytest.raises(InvalidInput, match=f"cannot be used: .*{why}"):
        session_with(plugin)
    with pytest.raises(InvalidInput, match=why):
        Session("s", store=MemorySessionStore(), db=plugin)
    found = Plugins()
    info = found.add(plugin)
    assert info.status == "broken"
    assert not [impl for hook in hookspecs.HOOKS for impl in found.implementations(hook) if impl.plugin_name == info.name]


def test_a_modules_unmarked_functions_never_run() -> None:
    module = module_of(MARKED + "def on_user_message(): ...\ndef build_context(): raise SystemExit")
    assert session_with(module, strict=True).chat("x") == "x"


def test_an_active_plugin_passed_again_runs_once(tmp_path: Path) -> None:
    called: list[str] = []
    module: Any = module_of(MARKED + "def on_user_message(): called.append('x')")
    module.called = called
    base = Plugins()
    base.add(module, "an-entry-point")
    again = Plugins(extra=[module, module], base=base)
    assert [i.name for i in again.infos() if i.status == "active" and "module" in i.name] == []
    file = tmp_path / "counts.py"
    file.write_text("from sessile import hookimpl\nnumbers = []\n@hookimpl\ndef on_user_message(): numbers.append(1)\n")
    session = session_with(module, module, str(file), str(file))
    session.chat("x")
    assert called == ["x"]
    assert len(again.implementations("on_user_message")) == len(base.implementations("on_user_message"))
    assert sys.modules["sessile_local_counts"].numbers == [1]


def test_a_file_that_cannot_be_loaded_is_refused_and_may_be_mended(tmp_path: Path) -> None:
    file = tmp_path / "broken_at_first.py"
    file.write_text("1 +")
    with pytest.raises(InvalidInput, match="SyntaxError"):
        session_with(str(file))
    file.write_text("from sessile import hookimpl\n\n@hookimpl\ndef on_user_message(content):\n    pass\n")
    assert session_with(str(file)).chat("x") == "x"


def test_a_sessions_own_plugins_are_ordered_among_the_installed_ones() -> None:
    called: list[str] = []

    def plugin(name: str, **options: bool) -> object:
        class Plugin:
            @hookimpl(**options)
            def on_user_message(self) -> None:
                called.append(name)

        return Plugin()

    marks: list[dict[str, bool]] = [{}, {"tryfirst": True}, {"trylast": True}]
    plugins = [plugin(f"{place} {mark}", **mark) for place in ("below", "above") for mark in marks]
    together = Plugins(extra=plugins)
    base = Plugins(extra=plugins[:3])
    for found in (together, Plugins(extra=plugins[3:], base=base)):
        run(found.call(Blocking(), "on_user_message", {}))
    assert called[:6] == called[6:]
    assert len(set(called)) == 6


def test_ten_thousand_sessions_with_a_plugin_of_their_own_leave_nothing() -> None:
    class Mine:
        def __init__(self) -> None:
            self.heard: list[str] = []

        def on_user_message(self, content: str) -> None:
            self.heard.append(content)

        def register(self, registry: Any) -> None:
            registry.add("model", "mine", "sessile.models:EchoModel")

    store = MemorySessionStore()
    alive = weakref.WeakSet[Mine]()
    for number in range(10_000):
        plugin = Mine()
        alive.add(plugin)
        with Session("s" if number else "t", store=store, plugins=[plugin]) as session:
            if number < 2:
                session.add_message("user", f"hi {number}")
                assert plugin.heard == [f"hi {number}"]
        del plugin, session
    gc.collect()
    assert len(alive) == 0


def test_two_sessions_whose_plugins_register_one_name_each_get_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_models.py").write_text(
        "class One:\n    def generate(self, request):\n        return 'one'\n\n\n"
        "class Two:\n    def generate(self, request):\n        return 'two'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    class Registers:
        def __init__(self, name: str) -> None:
            self.name = name

        def register(self, registry: Any) -> None:
            registry.add("model", "own", f"own_models:{self.name}")
            registry.add("store", "own", "sessile:MemorySessionStore")

    sessions = [
        Session("s", store="own://", agent=Agent(model="own"), plugins=[Registers(name)]) for name in ("One", "Two", "One")
    ]
    assert [session.chat("hi") for session in sessions] == ["one", "two", "one"]
    assert len({id(session.store) for session in sessions}) == 3
    assert all(session.message_count == 2 for session in sessions)


def test_plugins_of_one_class_may_have_other_hooks() -> None:
    heard: list[Any] = []

    @attrs.define
    class Slots:
        on_user_message: Any

    class Plain:
        def on_user_message(self, content: str) -> None:
            heard.append(content)

    class Lazy:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("not yet")

    class Holds:
        def __init__(self) -> None:
            self.client = Lazy()

        def on_user_message(self, content: str) -> None:
            heard.append(content)

    def say(plugin: object) -> Any:
        heard.clear()
        with Session("s", store=MemorySessionStore(), plugins=[plugin], strict=True) as session:
            session.add_message("user", "hi")
        return [*heard]

    assert say(Slots(lambda content: heard.append(content))) == ["hi"]
    assert say(Slots(lambda session_id: heard.append(session_id))) == ["s"]
    with pytest.raises(InvalidInput):
        say(Slots(None))
    assert say(Holds()) == ["hi"]
    assert say(Plain()) == ["hi"]
    Plain.on_user_message = lambda self, message: heard.append(message.role)  # type: ignore[assignment, method-assign]
    assert say(Plain()) == ["user"]
    Plain.on_session_close = lambda self: heard.append("closed")  # type: ignore[attr-defined]
    assert say(Plain()) == ["user", "closed"]
    del Plain.on_user_message
    assert say(Plain()) == ["closed"]


def test_a_plugin_that_is_added_later_is_called() -> None:
    class Counts:
        said = 0

        def on_user_message(self) -> None:
            self.said += 1

    plugins = Plugins(discover=False)
    assert plugins.implementations("on_user_message") == []
    counts = Counts()
    plugins.add(counts)
    assert [impl.function for impl in plugins.implementations("on_user_message")] == [counts.on_user_message]


def test_what_an_observer_changes_nobody_else_sees() -> None:
    class Changes:
        def on_user_message(self, message: Any, metadata: Any) -> None:
            message.metadata["k"].append("changed")
            metadata["k"].append("changed, too")

    seen: list[Any] = []

    class Sees:
        def on_user_message(self, message: Any) -> None:
            seen.append(message.metadata["k"][:1])

    with Session("s", store=MemorySessionStore(), plugins=[Changes(), Sees()]) as session:
        said = session.add_message("user", "hello", k=[1])
        assert (said.metadata, session.messages[0].metadata) == ({"k": [1]}, {"k": [1]})
