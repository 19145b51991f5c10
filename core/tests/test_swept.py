"""A sweep that comes upon an import under way, as it takes whoever writes for gone: the import says so, and leaves nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sessile import MemorySessionStore, Session, SessionManager
from sessile.errors import SessionExists


class Swept(MemorySessionStore):
    """A store that is swept before its `when`-th commit."""

    def __init__(self, when: int) -> None:
        super().__init__()
        self.left: int | None = when

    def commit(self, *args: Any, **options: Any) -> None:
        if self.left == 0:
            self.left = None  # what the sweep commits is not swept
            SessionManager(self).sweep(repair=True, older_than=0)
        elif self.left is not None:
            self.left -= 1
        super().commit(*args, **options)


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """A file with a fork's fork: three logs, two of which are inherited."""
    session = Session("root", store=MemorySessionStore())
    for name in ("child", "grandchild"):
        session.add_message("user", f"before {name}")
        session = session.fork(session_id=name)
    session.add_message("user", "last")
    session.export(tmp_path / "s.jsonl")
    return tmp_path / "s.jsonl"


def test_an_import_that_is_swept_away_says_so_and_leaves_nothing(exported: Path) -> None:
    told = []
    for when in range(100):
        store = Swept(when)
        manager = SessionManager(store)
        try:
            found: Any = manager.import_session(exported)
        except SessionExists as error:
            told.append(str(error))
            found = None
        if store.left is not None:
            break  # it had no more commits
        manager.sweep(repair=True, older_than=0)
        assert (manager.get_session("grandchild") is not None) == (found is not None)
        if found is None:
            assert list(store.logs()) == []
        else:
            assert [m.text for m in found.messages] == ["before child", "before grandchild", "last"]
            assert found.verify()
    else:
        pytest.fail("the import never ends")
    assert told
    assert all("try again" in text for text in told)


def test_a_fork_that_is_being_made_is_not_cleared_away_for_another_of_its_id() -> None:
    store = MemorySessionStore()
    session = Session("s", store=store)
    session.add_message("user", "x")
    told: list[str] = []

    class Twice(MemorySessionStore):
        """Before a fork's first commit is followed by others, somebody else wants its id."""

        def __init__(self) -> None:
            super().__init__()
            self._kept = store._kept

        def commit(self, session_id: str, **what: Any) -> None:
            super().commit(session_id, **what)
            if session_id == "f" and not told:
                told.append("")
                with pytest.raises(SessionExists, match="'f' exists already") as caught:
                    session.fork(session_id="f")
                told[0] = str(caught.value)

    assert [m.text for m in Session("s", store=Twice()).fork(session_id="f").messages] == ["x"]
    assert told[0]
