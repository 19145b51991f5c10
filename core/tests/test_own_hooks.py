"""Kinds and hooks that a plugin brings, for others to register and implement."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from sessile import AsyncSession, MemorySessionStore, Session, hookimpl
from sessile.errors import Closed, InvalidInput, NotRegistered, PluginError
from sessile.plugins import hookspec

specs = types.ModuleType("specs_of_a_plugin")


@hookspec
def score(session: Any, session_id: str, text: str) -> float | None:
    """How good a text is."""


@hookspec(firstresult=True)
def title_for(session: Any, text: str) -> str | None:
    """A title."""


specs.score, specs.title_for = score, title_for  # type: ignore[attr-defined]


class Quality:
    """Brings the hooks and a kind, and implements one of them itself."""

    @hookimpl
    def register(self, registry: Any) -> None:
        registry.kind("judge")
        registry.hooks(specs)
        registry.add("judge", "length", "builtins:len")

    @hookimpl
    def score(self, text: str) -> float:
        return float(len(text))


class Other:
    @hookimpl
    async def score(self, session: AsyncSession, text: str) -> float:
        return len(await session.messages) + 0.5

    @hookimpl
    def title_for(self, text: str) -> str:
        return text.title()


class Another:
    def score(self, text: str) -> None:
        raise ValueError(text)

    def title_for(self, session: Session) -> str:
        return f"{session.session_id} of {session.message_count}"


def test_hooks_of_a_plugin_are_called_on_both_faces() -> None:
    store, plugins = MemorySessionStore(), [Quality(), Other()]
    with Session("s", store=store, plugins=plugins) as session:
        session.add_message("user", "x")
        assert session.hook("score", text="abc") == [1.5, 3.0]  # the latest first
        assert session.hook("title_for", text="abc") == ["Abc"]
        assert session.plugins.registry.load("judge", "length") is len

    async def main() -> None:
        async with AsyncSession("s", store=store, plugins=plugins) as session:
            assert await session.hook("score", text="abc") == [1.5, 3.0]

    asyncio.run(main())


def test_methods_without_marks_count_and_a_failure_is_named() -> None:
    with Session("s", store=MemorySessionStore(), plugins=[Quality(), Another()]) as session:
        assert session.hook("score", text="abc") == [3.0]
        assert session.hook("title_for", text="abc") == ["s of 0"]
    with (
        Session("s", store=MemorySessionStore(), plugins=[Quality(), Another()], strict=True) as session,
        pytest.raises(PluginError, match=r"Another.*score.*abc"),
    ):
        session.hook("score", text="abc")


def test_what_a_plugin_brings_is_not_there_for_other_sessions() -> None:
    with pytest.raises(InvalidInput, match="'score' is marked as a hook, but no hook has this name"):
        Session("s", store=MemorySessionStore(), plugins=[Other()])
    with Session("s", store=MemorySessionStore()) as session:
        with pytest.raises(
            NotRegistered, match=r"no plugin has brought a hook 'score' \(there are: score_memory, session_title\)"
        ):
            session.hook("score", text="abc")
        with pytest.raises(InvalidInput, match="kind 'judge' of 'x' does not exist"):
            session.plugins.registry.add("judge", "x", "a:b")


@pytest.mark.parametrize(
    ("name", "arguments", "complaint"),
    [
        ("on_session_close", {}, "the core calls its own"),
        ("score", {}, r"was given \[\]: it has \['text'\]"),
        ("score", {"text": "x", "session_id": "y"}, r"was given \['session_id', 'text'\]"),
    ],
)
def test_a_hook_is_given_what_it_has(name: str, arguments: dict[str, Any], complaint: str) -> None:
    with (
        Session("s", store=MemorySessionStore(), plugins=[Quality()]) as session,
        pytest.raises(InvalidInput, match=complaint),
    ):
        session.hook(name, **arguments)


@pytest.mark.parametrize(
    ("module", "complaint"),
    [
        (types.ModuleType("empty"), "module 'empty' has no function marked with hookspec"),
        ("specs", "'specs' has no hook specs: pass the module"),
        (sys.modules["sessile.plugins.hookspecs"], "hooks that there are already: .*middleware"),
    ],
)
def test_what_has_no_hooks_to_bring_is_refused(module: Any, complaint: str) -> None:
    class Wrong:
        @hookimpl
        def register(self, registry: Any) -> None:
            registry.hooks(module)

    with pytest.raises(InvalidInput, match=complaint):
        Session("s", store=MemorySessionStore(), plugins=[Wrong()])


_PLUGINS = {
    "aaa": """
from sessile import hookimpl

@hookimpl
def register(registry):
    registry.add("judge", "mine", "builtins:len")

@hookimpl
def score(text):
    return 1.0
""",
    "bbb": """
from sessile import hookimpl
from sessile.plugins import hookspec
import bbb

@hookspec
def score(text):
    "How good it is."

@hookimpl
def register(registry):
    registry.kind("judge")
    registry.hooks(bbb)
""",
    "ccc": """
from sessile import hookimpl

@hookimpl
def register(registry):
    registry.add("nobodys", "x", "a:b")
""",
}


def test_plugins_that_need_one_that_is_found_later_wait_for_it(tmp_path: Path) -> None:
    for name, text in _PLUGINS.items():
        (tmp_path / f"{name}.py").write_text(text)
        about = tmp_path / f"{name}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[sessile]\n{name} = {name}\n")
    program = (
        "from sessile.plugins import installed\n"
        "from sessile import Session\n"
        "print([(i.name, i.status, i.error) for i in installed().infos() if len(i.name) == 3])\n"
        "print(Session('s', store='memory://').hook('score', text='x'))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    plugins, results = done.stdout.splitlines()
    error = "NotRegistered: kind 'nobodys' of 'x' does not exist: use one of"
    assert plugins.startswith(f"[('aaa', 'active', ''), ('bbb', 'active', ''), ('ccc', 'broken', \"{error}")
    assert results == "[1.0]"


class Both:
    """A hook of the core, and one that another plugin brings."""

    def on_user_message(self, content: str) -> None:
        pass

    def score(self, text: str) -> float:
        return 1.5


class Only:
    def score(self, text: str) -> float:
        return 2.5


@pytest.mark.parametrize("plugins", [[Both(), Only(), Quality()], [Quality(), Both(), Only()], [Only(), Quality(), Both()]])
def test_plugins_of_a_session_come_in_any_order(plugins: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    with Session("s", store=MemorySessionStore(), plugins=plugins, strict=True) as session:
        assert sorted(session.hook("score", text="four")) == [1.5, 2.5, 4.0]
        hooks = {name: info.hooks for info in session.plugins.infos() for name in [info.name.partition("-")[0]]}
        assert hooks["Both"] == ("on_user_message", "score")
    assert caplog.text == ""


def bringing(name: str, text: str) -> Any:
    module = types.ModuleType(name)
    exec(f"from sessile.plugins import hookspec\n@hookspec\n{text}: 'about'", module.__dict__)

    class Brings:
        @hookimpl
        def register(self, registry: Any) -> None:
            registry.hooks(module)

    return Brings()


def test_an_argument_may_have_any_name() -> None:
    class Named:
        def rerank(self, name: str, arguments: int) -> list[Any]:
            return [name, arguments]

    plugins = [bringing("named", "def rerank(session, name, arguments)"), Named()]
    with Session("s", store=MemorySessionStore(), plugins=plugins) as session:
        assert session.hook("rerank", name="a", arguments=1) == [["a", 1]]
    with pytest.raises(Closed):
        session.hook("rerank", name="a", arguments=1)


@pytest.mark.parametrize("arguments", ["*, q", "q=1", "*q", "**q", "hook_name"])
def test_an_argument_that_cannot_reach_an_implementation_is_refused(arguments: str) -> None:
    with pytest.raises(InvalidInput, match=r"hook 'rerank' of module 'odd' has (the|an) argument"):
        Session("s", store=MemorySessionStore(), plugins=[bringing("odd", f"def rerank({arguments})")])
