"""The conformance kit for plugins passes a plugin that is right, and finds each defect that was put into one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pytest

from sessile import AsyncSession, Session, hookimpl
from sessile.plugins.registry import Registry
from sessile.store import Entry, StoreWrapper
from sessile.testing import PluginConformance

KIT = PluginConformance()
FACES = (Session, AsyncSession)


def defect(**methods: Any) -> Any:
    return type("Defect", (), methods)()


class TestRight(PluginConformance):
    """A plugin with every hook, some async, some wrappers."""

    @pytest.fixture
    def plugin(self) -> Any:
        return Right()

    service_options = {"memory": {"top": 3}}  # noqa: RUF012


class Held:
    """A service, which is told what it was made of."""

    def __init__(self, session: Any, option: Any) -> None:
        assert option in (None, {"top": 3})

    async def close(self) -> None: ...


class Open(Held):
    def close(self) -> None:  # type: ignore[override]
        raise ValueError("cannot close")


shared = Held(None, None)


def hand_out(session: Any, option: Any) -> Held:
    return shared


class Forgets(StoreWrapper):
    def entry_out(self, entry: Entry) -> Entry:
        return attrs.evolve(entry, raw=None)


def adding(kind: str, target: str) -> Any:
    return defect(register=lambda self, registry: registry.add(kind, "thing", f"{__name__}:{target}"))


def bringing_undocumented() -> Any:
    module = ModuleType("undocumented")
    exec("from sessile.plugins import hookspec\n@hookspec\ndef thing(session): ...", module.__dict__)
    return defect(register=lambda self, registry: registry.hooks(module))


class Right:
    @hookimpl
    def register(self, registry: Registry) -> None:
        registry.add("model", "kit-echo", "sessile.conversation.model:EchoModel")
        registry.add("service", "memory", f"{__name__}:Held")
        registry.add("service", "notes", f"{__name__}:Held")
        registry.add("wrapper", "reversed", "tests.wrapping:Reversed")

    async def on_agent_start(self, session_id: str) -> list[Any]:
        return [{"role": "system", "content": session_id}]

    @hookimpl(wrapper=True)
    def on_user_message(self) -> Iterator[None]:
        yield

    async def on_agent_message(self, **arguments: Any) -> None:
        assert {"session", "session_id", "message", "content", "metadata"} == {*arguments}

    def on_turn_error(self, error: Exception) -> None: ...

    def want_snapshot(self) -> str:
        return "kept"

    async def build_context(self, messages: list[Any]) -> list[Any]:
        return messages[-1:]

    def save_state(self, state: dict[str, Any]) -> None: ...

    def restore_state(self) -> dict[str, Any]:
        return {"kit": 2}

    def register_commands(self, cli: Any) -> None:
        import click

        cli.add_command(click.Command("kit"))

    def on_session_close(self, session_id: str) -> None: ...


class TestInstalled(PluginConformance):
    @pytest.fixture
    def plugin(self) -> Any:
        return "sqlite"


def twice(self: Any) -> Iterator[None]:
    yield
    yield


def forgetful(self: Any) -> Any:
    async def layer(turn: Any, call_next: Any) -> None:
        await call_next(turn)

    return layer


DEFECTS: list[tuple[str, Any]] = [
    ("loads", defect(register=lambda self, registry: registry.add("model", "m", "sessile.conversation.model:Nothing"))),
    ("loads", defect(register=lambda self, registry: registry.add("model", "m", "sessile.conversation.model:EMBEDDED"))),
    ("loads", defect(register=lambda self, registry: registry.add("shop", "m", "a:b"))),
    ("loads", defect(on_user_message=lambda self, colour: None)),
    ("runs", defect(on_user_message=lambda self: 1 / 0)),
    ("runs", defect(on_session_close=lambda self: 1 / 0)),
    ("runs", defect(on_turn_error=lambda self, error: error.nothing)),
    ("runs", defect(build_context=lambda self: "text")),
    ("runs", defect(restore_state=lambda self: [1])),
    ("runs", defect(want_snapshot=lambda self: 7)),
    ("runs", defect(middleware=lambda self: 7)),
    ("runs", defect(middleware=forgetful)),
    ("runs", defect(on_agent_start=lambda self: [{"content": "x"}])),
    ("runs", defect(on_agent_message=hookimpl(wrapper=True)(twice))),
    ("commands", defect(register_commands=lambda self, cli: None)),
    ("services", adding("service", "Open")),
    ("services", adding("service", "hand_out")),
    ("services", adding("service", "defect")),
    ("wrappers", adding("wrapper", "Forgets")),
    ("wrappers", adding("wrapper", "defect")),
    ("own hooks", bringing_undocumented()),
]
CHECKS: dict[str, Any] = {
    "loads": lambda plugin: KIT.test_it_is_active_and_what_it_registers_loads(plugin),
    "runs": lambda plugin: [KIT.test_its_hooks_run_in_a_session_and_return_what_they_may(plugin, face) for face in FACES],
    "commands": lambda plugin: KIT.test_it_adds_its_commands(plugin),
    "services": lambda plugin: [KIT.test_its_services_are_made_once_for_each_session(plugin, face) for face in FACES],
    "wrappers": lambda plugin: [
        KIT.test_what_is_stored_through_its_wrappers_is_read_through_them(plugin, face) for face in FACES
    ],
    "own hooks": lambda plugin: KIT.test_its_own_hooks_say_what_they_are_for(plugin),
}


@pytest.mark.parametrize(("check", "plugin"), DEFECTS)
def test_a_defect_is_found(check: str, plugin: Any) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011  (whatever says it: an assertion, or the core's own error)
        CHECKS[check](plugin)
    assert str(caught.value)


def test_a_module_that_imports_much_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "kit_heavy.py").write_text("")
    hook = "from sessile import hookimpl\n@hookimpl\ndef on_user_message(): ...\n"
    for name, imports in (
        ("kit_light", ""),
        ("kit_third", "import kit_heavy\n"),
        ("kit_much", "import asyncio, sqlite3, xmlrpc.server\n"),
    ):
        (tmp_path / f"{name}.py").write_text(imports + hook)
        module = import_module(name)
        for plugin in (module, str(tmp_path / f"{name}.py")):
            if name == "kit_light":
                KIT.test_discovering_it_imports_nothing_heavy(plugin)
            else:
                with pytest.raises(AssertionError, match=r"imports \['kit_heavy'\]|imports \d+ modules"):
                    KIT.test_discovering_it_imports_nothing_heavy(plugin)
        del sys.modules[name]
