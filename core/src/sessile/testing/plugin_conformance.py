"""The conformance kit for plugins: what the author of a plugin turns on with one fixture. See `sessile.testing`."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import pytest

from sessile.drive.faces import run
from sessile.errors import PluginError
from sessile.plugins.active import Plugins
from sessile.plugins.discovery import installed
from sessile.plugins.marking import Implementation
from sessile.session import AsyncSession, Session
from sessile.session.agents.agent import Agent
from sessile.store.memory import MemorySessionStore

capability = pytest.mark.capability
both_faces = pytest.mark.parametrize("face", [Session, AsyncSession])
_NOT_IN_A_SESSION = frozenset(["register", "register_commands"])
_INSIDE = frozenset(["build_context", "on_turn_error", "recall"])  # a middleware that answers by itself lets these never run


class Failure(Exception):
    """What the kit makes a hook or a model raise."""


class Failing:
    """A model that does not answer."""

    def generate(self, request: Any) -> str:
        raise Failure("the kit's model does not answer")


class Watched(Plugins):
    """The installed plugins and the one under test: `called` has the hooks of it that ran; the one named `failing` raises."""

    def __init__(self, plugin: Any, failing: str = "") -> None:
        super().__init__(base=installed())
        names = {info.name: info for info in reversed(self.infos())}  # of two that have one name, the first
        self.info = names[plugin] if isinstance(plugin, str) and plugin in names else self.add(plugin)
        assert self.info.status == "active", f"plugin {self.info.name!r} is {self.info.status}: {self.info.error}"
        self.called: list[str] = []
        self.failing = failing

    def implementations(self, hook: str) -> list[Implementation]:
        found = super().implementations(hook)
        return [self._watched(hook, impl) if impl.plugin_name == self.info.name else impl for impl in found]

    def _watched(self, hook: str, impl: Implementation) -> Implementation:
        @functools.wraps(impl.function)
        def function(**arguments: Any) -> Any:
            self.called.append(hook)
            if hook == self.failing:
                raise Failure("the kit made this hook fail")
            return impl.function(**arguments)

        return Implementation(impl.plugin_name, function, impl.wanted, impl.wrapper, impl.tryfirst, impl.trylast)


class PluginConformance:
    """All that sessile asks of a plugin. Override `plugin`: a module, an object with hooks, a file's path, or the name of an
    entry point.

    allowed_imports: packages beside the standard library that its module may import when plugins are discovered.
    max_modules: how many modules it may bring in then, those of the standard library included.
    seconds: how long a test may take.
    service_options: what its "memory" and "knowledge" are made of in the tests, by these names (default: None).
    """

    seconds = 60.0
    allowed_imports: tuple[str, ...] = ()
    max_modules = 40
    service_options: Mapping[str, Any] = MappingProxyType({})

    @pytest.fixture
    def plugin(self) -> Any:
        raise pytest.UsageError("define the fixture plugin: a module, an object with hooks, or the name of an entry point")

    @capability("registers")
    def test_it_is_active_and_what_it_registers_loads(self, plugin: Any) -> None:
        found = Watched(plugin)
        for entry in found.registry.entries:
            if entry.plugin == found.info.name:
                assert callable(entry.load()), f"{entry.kind} {entry.name!r} is {entry.target}, which cannot be called"

    @capability("registers")
    @both_faces
    def test_its_services_are_made_once_for_each_session(self, plugin: Any, face: Any) -> None:
        found = Watched(plugin)
        for name in _registered(found, "service"):
            _driver(face)(_hold(face, found, name, self.service_options.get(name)))

    @capability("registers")
    @both_faces
    def test_what_is_stored_through_its_wrappers_is_read_through_them(self, plugin: Any, face: Any) -> None:
        found = Watched(plugin)
        for name in _registered(found, "wrapper"):
            _driver(face)(_store_through(face, found.registry.load("wrapper", name)(MemorySessionStore())))

    @capability("registers")
    def test_its_own_hooks_say_what_they_are_for(self, plugin: Any) -> None:
        found = Watched(plugin)
        for module in {*found.registry.hook_modules} - {*installed().registry.hook_modules}:
            for name, function in vars(module).items():
                assert not hasattr(function, "sessile_spec") or function.__doc__, f"hook {name!r} has no docstring"

    @capability("hooks")
    @both_faces
    def test_its_hooks_run_in_a_session_and_return_what_they_may(self, plugin: Any, face: Any) -> None:
        found = Watched(plugin)
        _converse(face, found, strict=True)
        expected = set(found.info.hooks) - _NOT_IN_A_SESSION
        if "middleware" in found.info.hooks:
            expected -= _INSIDE
        assert not expected - set(found.called), f"a conversation never came to {sorted(expected - set(found.called))}"

    @capability("hooks")
    def test_it_adds_its_commands(self, plugin: Any) -> None:
        found = Watched(plugin)
        for impl in found.implementations("register_commands"):
            if impl.plugin_name == found.info.name:
                cli = pytest.importorskip("click").Group()  # without the command line there is nothing to add commands to
                impl.function(cli=cli)
                assert cli.commands, "register_commands added no command"

    @capability("isolation")
    @both_faces
    def test_a_failure_in_any_hook_is_named_and_breaks_nothing(
        self, plugin: Any, face: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        called = Watched(plugin)
        _converse(face, called, strict=True)
        for hook in sorted(set(called.called)):
            caplog.clear()
            with caplog.at_level(logging.ERROR, logger="sessile"):
                _converse(face, Watched(plugin, failing=hook), strict=False)
            assert f"plugin {called.info.name!r} failed in hook {hook!r}" in caplog.text
            with pytest.raises(PluginError, match=f"in hook {hook!r}"):
                _converse(face, Watched(plugin, failing=hook), strict=True)

    @capability("discovery")
    def test_discovering_it_imports_nothing_heavy(self, plugin: Any) -> None:
        own, statement = _loading(plugin)
        program = f"import json, sys, sessile.plugins.active\nbefore = set(sys.modules)\n{statement}\n"
        program += "print(json.dumps(sorted(set(sys.modules) - before)))"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        modules = json.loads(done.stdout.splitlines()[-1])
        packages = {module.partition(".")[0] for module in modules} - sys.stdlib_module_names
        heavy = sorted(name for name in packages - {"sessile", own, *self.allowed_imports} if not name.startswith("_"))
        assert not heavy, f"discovering it imports {heavy}: import them in the functions that use them, or in other modules"
        assert len(modules) <= self.max_modules, f"discovering it imports {len(modules)} modules: {modules}"


def _registered(found: Watched, kind: str) -> list[str]:
    """The names of a kind that the plugin under test registers."""
    return [entry.name for entry in found.registry.entries if (entry.kind, entry.plugin) == (kind, found.info.name)]


async def _hold(face: Any, plugins: Plugins, name: str, option: Any) -> None:
    """Have a session with a service, and one forked from it with a service of its own."""
    options = {name: option} if name in ("memory", "knowledge") else {}
    session = face("conformance", store=MemorySessionStore(), plugins=plugins, strict=True, **options)
    await _done(session.create())
    made = session.service(name)
    assert session.service(name) is made, f"service {name!r} was made twice"
    child = await _done(session.fork())
    assert child.service(name) is not made, f"service {name!r} is shared by a session and its fork"
    await _done(child.close())
    await _done(session.close())  # strict: raises what its close raises


async def _store_through(face: Any, store: Any) -> None:
    """Say, fork and read what was said, by handles that know nothing of it."""
    said = {"role": "user", "content": "Grüße \U0001f600", "raw": "<original>"}
    session = face("conformance", user_id="ann", store=store)
    await _done(session.commit(messages=[said], state={"k": [1, None]}, metadata={"m": 1}, title="Title"))
    child = await _done(session.fork(session_id="child"))
    await _done(child.add_message("assistant", "hello"))
    for session_id, count in (("conformance", 1), ("child", 2)):
        found = face(session_id, user_id="ann", store=store)
        messages = await _done(found.get_history())
        assert ({**said, **messages[0]}, len(messages)) == ({**messages[0], **said}, count)
        assert await _done(found.get_state()) == {"k": [1, None]}
        assert await _done(found.verify())
    await _done(session.delete())
    assert await _done(face("child", user_id="ann", store=store).get_history())


def _driver(face: Any) -> Callable[[Coroutine[Any, Any, None]], None]:
    """What runs the kit's coroutines: without an event loop for blocking sessions."""
    return run if face is Session else asyncio.run


async def _done(result: Any) -> Any:
    return await result if hasattr(type(result), "__await__") else result


def _loading(plugin: Any) -> tuple[str, str]:
    """The package of a plugin, and the statements that load it as discovery does."""
    if isinstance(plugin, ModuleType):
        return plugin.__name__.partition(".")[0], f"import {plugin.__name__}"
    if not isinstance(plugin, str):
        pytest.skip("an object is made by who passes it: nothing is discovered")
    if plugin.endswith(".py"):
        return f"sessile_local_{Path(plugin).stem}", f"sessile.plugins.active.load_local({plugin!r})"
    (module,) = [entry.module for entry in sessile_entry_points() if entry.name == plugin]
    return module.partition(".")[0], f"import {module}"


def sessile_entry_points() -> Any:
    """The entry points of all installed plugins."""
    from importlib.metadata import entry_points

    return entry_points(group="sessile")


def _converse(face: Any, plugins: Plugins, *, strict: bool) -> None:
    """Take some turns in a new session with these plugins, save, restore and close it; what was said must be there."""
    session = face("conformance", store=MemorySessionStore(), agent=Agent(model="echo"), strict=strict, plugins=plugins)
    if face is Session:
        for step in _steps(session):
            with contextlib.suppress(Failure):
                step()
        return

    async def awaited() -> None:
        for step in _steps(session):
            with contextlib.suppress(Failure):
                await step()

    asyncio.run(awaited())


def _steps(session: Any) -> Iterator[Callable[[], Any]]:
    replies: list[Any] = []

    async def read() -> None:
        replies.append("".join([piece async for piece in session.stream("Good morning")]))

    yield lambda: session.chat("Hello, my name is Ann and I like tea.", metadata={"mood": "good"})
    yield (lambda: replies.append("".join(session.stream("Good morning")))) if isinstance(session, Session) else read
    yield lambda: session.chat("This fails.", agent=Agent("Failing", model=Failing()))
    yield lambda: session.save_state({"kit": 1})
    yield lambda: session.restore_state()
    yield session.close
    assert isinstance(replies[0], str)
    roles = [said.role for said in Session("conformance", store=session.store).messages]
    assert (roles.count("user") >= 3, roles.count("assistant") >= 2) == (True, True), f"what was said is not all there: {roles}"
