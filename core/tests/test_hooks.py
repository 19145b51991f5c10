"""Plugins: order, blocking, registering, isolation, objects without marks, files, and what every hook is given."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sessile import Agent, MemorySessionStore, Session, hookimpl, hookspecs
from sessile.errors import InvalidInput, NotInstalled
from sessile.plugins import Plugins, parse_options
from sessile.registry import Registry


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
    session.chat("hello", mood="good")
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
    assert seen["save_state"]["state"] == {"a": 1}
    assert str(seen["on_turn_error"]["error"]) == "boom"
    assert seen["on_turn_error"]["turn"].message.content == "x"
    unseen = set(hookspecs.HOOKS) - set(seen)
    assert unseen == {"register", "register_commands", "score_memory"}


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


def test_a_broken_plugin_is_disabled_and_the_others_work(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        @hookimpl
        def register(self, registry: Registry) -> None:
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
