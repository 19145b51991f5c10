"""What is particular to the file store: files a person can read, syncs, torn and broken files, locks."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from sessile import FileSessionStore, MemorySessionStore, Session, SessionManager
from sessile.errors import CorruptStore, InvalidInput, LockTimeout, NotInstalled, StoreError, StoreTooNew
from sessile.transfer.copying import copy_store
from sessile_file.locking import locked


@pytest.fixture
def store(tmp_path: Path) -> FileSessionStore:
    return FileSessionStore(tmp_path / "sessions")


def fresh(store: FileSessionStore) -> FileSessionStore:
    """Another opening, which has nothing in memory."""
    return FileSessionStore(store.path)


def test_the_files_can_be_read_by_a_person(store: FileSessionStore) -> None:
    session = Session("my-session", store=store, user_id="ann")
    session.add_message("user", "Grüße")
    folder = store.path / "my-session"
    assert {path.name for path in folder.iterdir()} >= {"log.jsonl", "state.json"}
    first, line = (folder / "log.jsonl").read_text().splitlines()
    assert json.loads(first)["log"] == store.load("my-session").log
    assert json.loads(line)["body"] == {"role": "user", "content": "Grüße"}
    assert json.loads((folder / "state.json").read_text())["header"]["user_id"] == "ann"


def test_a_system_without_its_locks_is_told_which_store_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.delitem(sys.modules, "sessile_file.locking")
    with pytest.raises(NotInstalled, match=r"for Linux and macOS: .*Use sqlite:///chat.db"):
        importlib.import_module("sessile_file.locking")


def test_a_commit_is_one_sync(store: FileSessionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session("s", store=store)
    session.add_message("user", "first")
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    monkeypatch.setattr(os, "fdatasync", synced.append)
    session.add_messages([("user", "a"), ("assistant", "b")])
    assert len(synced) == 1


def test_a_torn_end_does_not_count_and_is_cut_by_the_next_append(store: FileSessionStore) -> None:
    session = Session("s", store=store)
    session.add_messages([("user", "a"), ("assistant", "b")])
    path = store.path / "s" / "log.jsonl"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for torn in (lines[1], lines[1] + lines[2][:20], b'{"body"', lines[1][:-1]):
        path.write_bytes(whole + torn)
        again = Session("s", store=fresh(store))
        assert [m.content for m in again.messages] == ["a", "b"]
        again.add_message("user", "c")
        assert [m.content for m in Session("s", store=fresh(store)).messages] == ["a", "b", "c"]
        path.write_bytes(whole)


def test_a_torn_beginning_is_no_session(store: FileSessionStore) -> None:
    Session("s", store=store).add_message("user", "a")
    path = store.path / "s" / "log.jsonl"
    path.write_bytes(path.read_bytes()[:50])
    (store.path / "s" / "state.json").unlink()
    session = Session("s", store=fresh(store))
    assert session.messages == []
    session.add_message("user", "b")
    assert [m.content for m in Session("s", store=fresh(store)).messages] == ["b"]


@pytest.mark.parametrize("left", [None, b"", b"\0" * 4096])
def test_a_state_file_that_a_power_cut_took_is_made_up_from_the_log(store: FileSessionStore, left: bytes | None) -> None:
    session = Session("User/1", store=store, user_id="ann")
    for number in range(100):
        session.add_message("user", f"{number} {'x' * 100}")
    session.title = "T"
    before = store.load("User/1")
    (folder,) = [path for path in store.path.iterdir() if not path.name.startswith(".")]
    (folder / "state.json").unlink()
    if left is not None:
        (folder / "state.json").write_bytes(left)
    assert fresh(store).load("User/1") == before
    assert [h.session_id for h in SessionManager(fresh(store)).list(user_id="ann").items] == ["User/1"]
    again = Session("User/1", store=fresh(store))
    again.add_message("user", "more")
    assert fresh(store).load("User/1").count == 101


def test_a_broken_state_file_says_what_to_do(store: FileSessionStore) -> None:
    Session("s", store=store).add_message("user", "a")
    path = store.path / "s" / "state.json"
    for broken in (b"\n", b"{", b"[]", b'{"sessile": 1}', b"\xff"):
        path.write_bytes(broken)
        with pytest.raises(CorruptStore, match="delete this one file, and it is made again"):
            Session("s", store=fresh(store))
    path.unlink()
    assert Session("s", store=fresh(store)).message_count == 1


@pytest.mark.parametrize("left", ["30 lines", "one line", "half a line", "nothing", "no file"])
def test_a_log_that_lost_what_the_state_file_knows_is_no_shorter_session(store: FileSessionStore, left: str) -> None:
    manager = SessionManager(store)
    manager.create_session(session_id="whole").add_message("user", "not concerned")
    session = manager.create_session(session_id="s")
    for number in range(60):
        session.add_message("user", f"{number} " * 300)
    path = store.path / "s" / "log.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    assert json.loads((store.path / "s" / "state.json").read_text())["header"]["head"] > 30
    path.write_bytes({"30 lines": b"".join(lines[:31]), "one line": lines[0], "half a line": lines[0][:20]}.get(left, b""))
    if left == "no file":
        path.unlink()
    again = SessionManager(fresh(store))
    for use in (
        lambda: Session("s", store=again.store).messages,
        lambda: Session("s", store=again.store).add_message("user", "instead"),
        lambda: session.add_message("user", "behind"),
    ):
        with pytest.raises(CorruptStore, match=r"has \d+ entries, and state.json .* knows of \d\d: restore the log"):
            use()
    assert [header.session_id for header in again.list()] == ["whole"]
    assert again.delete("s")
    assert not again.exists("s")
    begun = Session("s", store=again.store)
    begun.add_message("user", "anew")
    assert [message.text for message in Session("s", store=fresh(store)).messages] == ["anew"]


def test_a_newer_state_file_is_refused(store: FileSessionStore) -> None:
    Session("s", store=store).add_message("user", "a")
    path = store.path / "s" / "state.json"
    path.write_text(path.read_text().replace('"sessile":1', '"sessile":9'))
    with pytest.raises(StoreTooNew, match="upgrade sessile-file"):
        Session("s", store=fresh(store))


def test_a_broken_line_is_named(store: FileSessionStore) -> None:
    session = Session("s", store=store)
    for text in "abc":
        session.add_message("user", text)
    path = store.path / "s" / "log.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]) + b"garbage" * 20 + b"\n" + lines[3])
    with pytest.raises(CorruptStore, match="has a line of 140 bytes that is no entry"):
        _ = Session("s", store=fresh(store)).messages


def test_one_broken_session_harms_no_other(store: FileSessionStore) -> None:
    manager = SessionManager(store)
    for name in ("good", "bad", "fine"):
        manager.create_session("u", session_id=name).add_message("user", f"{name} words")
    (store.path / "bad" / "state.json").write_bytes(b"{")
    manager = SessionManager(fresh(store))
    assert [h.session_id for h in manager.list(user_id="u").items] == ["fine", "good"]
    assert {hit.session_id for hit in manager.search("words")} == {"fine", "good"}
    manager.delete("good")
    manager.delete("bad")
    assert sorted(p.name for p in store.path.iterdir() if not p.name.startswith(".")) == ["fine"]


def test_a_delete_leaves_nothing(store: FileSessionStore) -> None:
    session = Session("s", store=store, user_id="ann")
    session.add_message("user", "secret")
    SessionManager(store).delete("s")
    left = [path for path in store.path.rglob("*") if path.is_file()]
    assert left == []


def test_a_log_has_two_names_while_its_entries_are_set_aside(store: FileSessionStore) -> None:
    parent = Session("parent", store=store)
    parent.add_messages([("user", str(number)) for number in range(5)])
    child = parent.fork(3, "child")
    log = store.load("parent").log
    name = store.path / "parent" / f"kept-{log.partition('.')[0]}.jsonl"
    os.link(store.path / "parent" / "log.jsonl", name)  # where a kill can leave it
    assert parent.message_count == 5
    assert parent.delete() is None
    assert [m.text for m in child.messages] == ["0", "1", "2"]
    assert '"3"' not in name.read_text()
    assert fresh(store).load("parent") is None


def test_what_is_private_is_readable_by_its_owner_only(store: FileSessionStore) -> None:
    session = Session("s", store=store, metadata={"secret": 1})
    session.add_message("user", "x")
    session.fork()
    session.delete()
    files = [path for path in store.path.glob("*/*") if path.parent.name != ".index"]
    assert len(files) > 3
    assert {path.stat().st_mode & 0o077 for path in files} == {0}


def test_a_lock_that_is_held_is_waited_for_and_then_named(tmp_path: Path) -> None:
    store = FileSessionStore(tmp_path, lock_timeout=0.1)
    session = Session("s", store=store)
    session.add_message("user", "x")
    with locked(tmp_path / "s" / "lock", 1), pytest.raises(LockTimeout, match=r"locked by another process for 0\.1 s"):
        session.add_message("user", "y")
    assert session.message_count == 1
    Session("other", store=store).add_message("user", "not concerned")


def test_a_folder_that_was_copied_is_a_store(store: FileSessionStore, tmp_path: Path) -> None:
    Session("s", store=store, user_id="ann").add_message("user", "x")
    shutil.copytree(store.path, tmp_path / "copy")
    copy = FileSessionStore(tmp_path / "copy")
    assert Session("s", store=copy).message_count == 1
    assert [h.session_id for h in SessionManager(copy).list(user_id="ann").items] == ["s"]


def test_sessions_are_listed_without_their_logs(store: FileSessionStore) -> None:
    """The logs are emptied behind the store's back, and the list is the same."""
    manager = SessionManager(store)
    for number in range(50):
        manager.create_session(f"u{number % 5}", session_id=f"s{number}").add_message("user", "x" * 20_000)
    for folder in store.path.glob("s*"):
        log = folder / "log.jsonl"
        status = log.stat()
        os.truncate(log, log.read_bytes().index(b"\n") + 1)  # but for the line that says whose it is
        os.truncate(log, status.st_size)  # the same length, but nothing in it
        os.utime(log, ns=(status.st_atime_ns, status.st_mtime_ns))
    listed = [h.session_id for h in SessionManager(fresh(store)).list(user_id="u3").items]
    assert listed == [f"s{number}" for number in range(48, 0, -5)]


def test_urls() -> None:
    assert FileSessionStore.from_url("file:///a/b%20c").path == Path("/a/b c")
    assert FileSessionStore.from_url("file:here").path == Path("here").absolute()
    assert FileSessionStore.from_url("file:/a/b%20c").path == Path("/a/b c")
    with pytest.raises(InvalidInput, match="names no path"):
        FileSessionStore.from_url("file://host/x")


def test_a_new_log_is_not_taken_for_a_deleted_one(tmp_path: Path) -> None:
    for _ in range(20):
        one, other = FileSessionStore(tmp_path), FileSessionStore(tmp_path)
        first = Session("s", store=one)
        first.add_message("user", "x")
        assert Session("s", store=other).message_count == 1
        first.delete()
        second = Session("s", store=one)
        second.add_messages([("user", "y" * 100)] * 3)
        assert [m.text for m in Session("s", store=other).messages] == ["y" * 100] * 3
        second.delete()


def test_what_the_file_system_refuses_is_a_stores_error(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("no folder")
    store = FileSessionStore(tmp_path / "plain")
    for call in (
        lambda: Session("s", store=store).add_message("user", "x"),
        lambda: SessionManager(store).exists("s"),
        lambda: SessionManager(store).list(),
    ):
        with pytest.raises(StoreError, match="the file store cannot use"):
            call()


def test_a_session_that_was_deleted_and_imported_again_is_not_taken_for_the_one_before(tmp_path: Path) -> None:
    one, other = FileSessionStore(tmp_path / "store"), FileSessionStore(tmp_path / "store")
    with Session("s", store=one) as session:
        session.add_message("user", "hello")
        path = session.export(tmp_path / "exported.jsonl")
    for _ in range(20):  # the new log has the size and time of the old one, and often its inode
        assert SessionManager(one).delete("s")
        SessionManager(one).import_session(path).close()
        found, seen = one.load("s"), other.load("s")
        assert found is not None
        assert seen is not None
        assert found.log == seen.log


@pytest.mark.parametrize("broken", ["log.jsonl", "state.json"])
def test_what_may_not_be_read_hides_no_other(store: FileSessionStore, broken: str) -> None:
    manager = SessionManager(store)
    for name in ("a", "odd", "b"):
        manager.create_session(session_id=name, user_id="ann").add_message("user", "a zebra")
    path = store.path / "odd" / broken
    path.unlink()
    path.mkdir()  # for everybody, the superuser as well
    again = SessionManager(fresh(store))
    assert {header.session_id for header in again.list()} == {"a", "b"}
    assert {hit.session_id for hit in again.search("zebra")} == {"a", "b"}
    report = copy_store(again.store, MemorySessionStore())
    assert report.sessions == 2
    with pytest.raises(StoreError, match=r"odd.*(directory|not readable)"):
        again.get_session("odd")
    with pytest.raises(StoreError, match=r"odd"):
        again.delete_user("ann")
    assert again.list(user_id="ann").items == []
    assert not again.exists("a")


def test_a_folder_that_was_copied_or_renamed_is_no_session(store: FileSessionStore) -> None:
    manager = SessionManager(store)
    manager.create_session("ann", session_id="a").add_message("user", "a secret zebra")
    shutil.copytree(store.path / "a", store.path / "a.bak")
    manager.create_session("bob", session_id="b").add_message("user", "zebra")
    (store.path / "b").rename(store.path / "c")
    again = SessionManager(fresh(store))
    assert [header.session_id for header in again.list()] == ["a"]
    assert [hit.session_id for hit in again.search("zebra")] == ["a"]
    with pytest.raises(CorruptStore, match=r"a\.bak is of session 'a': a folder was copied or renamed"):
        again.get_session("a.bak")
    assert copy_store(again.store, MemorySessionStore()).sessions == 1
    assert again.delete_user("ann") == 2
    assert sorted(path.name for path in store.path.iterdir() if path.name[0] != ".") == ["c"]
    assert again.delete("c")
    assert again.clear_all() == 0
    files = [path for path in store.path.rglob("*") if path.is_file() and path.parent.parent.name != "user_id"]
    assert {path.name for path in files} <= {".search.db", ".search.db-wal", ".search.db-shm"}


def test_nothing_is_left_of_what_was_deleted(store: FileSessionStore) -> None:
    manager = SessionManager(store)
    session = manager.create_session("ann", session_id="s")
    session.add_message("user", "x")
    session.set_state("user:k", 1)
    session.fork(session_id="f").fork(session_id="g")
    assert manager.clear_all() == 3
    assert sorted(str(path.relative_to(store.path)) for path in store.path.rglob("*")) == [
        ".index",
        ".index/parent",
        ".index/root",
        ".index/user_id",
    ]


def test_what_a_killed_process_left_of_a_first_commit_is_cleared_away(store: FileSessionStore) -> None:
    manager = SessionManager(store)
    manager.create_session("ann", session_id="s").add_message("user", "x")
    (store.path / "killed").mkdir()
    (store.path / "killed" / "lock").touch()
    lines = (store.path / "s" / "log.jsonl").read_bytes().splitlines(keepends=True)
    (store.path / "killed" / "log.jsonl").write_bytes(lines[0].replace(b".s", b".killed") + b'{"positi')
    marker = store.path / ".index" / "user_id" / "eve" / "killed"
    marker.parent.mkdir()
    marker.touch()
    (store.path / ".index" / "user_id" / "eve" / "s").touch()
    for repair, folders in ((False, ["killed", "s"]), (True, ["s"])):
        assert store.check(repair) == {"commits cut short": 1, "markers of no session": 2, "search index": "not made yet"}
        assert sorted(path.name for path in store.path.iterdir() if path.name[0] != ".") == folders
    assert store.check() == {"commits cut short": 0, "markers of no session": 0, "search index": "not made yet"}
    assert not marker.parent.exists()
    assert [header.session_id for header in manager.list(user_id="ann")] == ["s"]


@pytest.mark.parametrize("links", [True, False])
def test_what_was_pruned_does_not_come_back_after_a_kill(
    store: FileSessionStore, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError("this file system has no hard links")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    manager = SessionManager(store)
    parent = manager.create_session(session_id="p")
    parent.add_message("user", "inherited")
    fork = parent.fork(session_id="f")
    parent.add_message("user", "of the parent's alone")
    replace, calls = os.replace, []

    def killed(old: object, new: object) -> None:
        if str(new).endswith("log.jsonl") and not calls:
            calls.append(new)
            raise KeyboardInterrupt
        replace(old, new)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        manager.delete("p")
    assert SessionManager(fresh(store)).sweep(repair=True, older_than=0)
    (kept,) = store.path.glob("p/kept-*")
    assert b"inherited" in kept.read_bytes()
    assert b"of the parent's alone" not in kept.read_bytes()
    assert [message.text for message in fork.messages] == ["inherited"]


@pytest.mark.parametrize("name", ["plain", "Ada", "a/b", "x" * 250])
def test_what_is_broken_goes_whatever_its_id_is(store: FileSessionStore, name: str) -> None:
    manager = SessionManager(store)
    manager.create_session("ann", session_id=name).add_message("user", "a secret")
    manager.create_session("bob", session_id="other").add_message("user", "x")
    (folder,) = [path for path in store.path.iterdir() if path.name not in (".index", "other")]
    lines = (folder / "log.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "log.jsonl").write_bytes(b"garbage\n" + b"".join(lines[1:]))
    (folder / "state.json").unlink()
    again = SessionManager(fresh(store))
    with pytest.raises(CorruptStore, match="1 of the store's sessions"):
        again.delete_user("ann")
    if len(name) > 200:  # only its hash is in the name
        with pytest.raises(CorruptStore, match="is not the folder of a session with this name"):
            again.clear_all()
        shutil.rmtree(folder)
    assert again.clear_all() == (0 if len(name) > 200 else 2)
    assert not list(store.path.rglob("log.jsonl"))


@pytest.mark.parametrize("copy", ["s (copy)", "Copy of s", "s2"])
def test_a_copy_of_a_folder_is_removed_or_named_by_who_deletes_everything(store: FileSessionStore, copy: str) -> None:
    manager = SessionManager(store)
    manager.create_session("ann", session_id="s").add_message("user", "a secret")
    shutil.copytree(store.path / "s", store.path / copy)
    again = SessionManager(fresh(store))
    assert [header.session_id for header in again.list()] == ["s"]
    if copy == "s2":  # it is named as a session is
        assert again.clear_all() == 2
    else:
        for erase in (again.clear_all, lambda: again.delete_user("ann")):
            with pytest.raises(
                CorruptStore, match=rf"{re.escape(copy)} is not the folder of a session with this name.*remove it"
            ):
                erase()
        assert again.list().items == []
        shutil.rmtree(store.path / copy)
        assert again.clear_all() == 0
    assert not list(store.path.rglob("log.jsonl"))


def test_what_is_kept_and_cannot_be_read_fails_no_search_of_others(store: FileSessionStore) -> None:
    manager = SessionManager(store)
    parent = manager.create_session(session_id="p")
    parent.add_message("user", "inherited zebra")
    parent.fork(session_id="f").add_message("user", "a zebra of its own")
    manager.create_session(session_id="other").add_message("user", "zebra")
    manager.delete("p")
    (kept,) = store.path.glob("p/kept-*")
    kept.unlink()
    kept.mkdir()
    again = SessionManager(fresh(store))
    assert sorted(hit.session_id for hit in again.search("zebra")) == ["f", "other"]
    with pytest.raises(CorruptStore, match=r"/p cannot be read"):
        _ = again.get_session("f").messages


@pytest.mark.parametrize("step", [1, 1_000_000_000])
@pytest.mark.parametrize("writable", [True, False])
def test_a_store_whose_files_have_other_times_lists_all_in_their_order(tmp_path: Path, writable: bool, step: int) -> None:
    """As a copy has them that keeps no times, or only whole seconds."""
    first = SessionManager(FileSessionStore(tmp_path / "first"))
    for number in range(12):
        first.create_session("ann", session_id=f"s{number:02}").add_message("user", "hello")
    shutil.copytree(tmp_path / "first", tmp_path / "copy", copy_function=shutil.copyfile)
    for number, log in enumerate(sorted((tmp_path / "copy").glob("*/log.jsonl"))):
        os.utime(log, ns=(2_000_000_000_000_000_000 - step * number,) * 2)
    store = FileSessionStore(tmp_path / "copy")
    locks = [locked(tmp_path / "copy" / f"s{number:02}" / "lock", 1) for number in range(12)]
    with ExitStack() as held:
        for lock in [] if writable else locks:  # a time is not mended while somebody has the lock
            held.enter_context(lock)
        for query in ({}, {"user_id": "ann"}):
            found = [header.session_id for header in SessionManager(store).each(limit=3, **query)]
            assert found == [header.session_id for header in first.each(limit=3, **query)]
            assert len(found) == 12
    kept = [
        (log.stat().st_mtime_ns // 1000) in range(1_999_999_000_000_000, 2_000_000_000_000_001)
        for log in tmp_path.glob("copy/*/log.jsonl")
    ]
    assert kept == [not writable] * 12


@pytest.mark.parametrize(
    "broken",
    ['"apple \\udcff"', '"apple","time":1e999', f'"apple","deep":{"[" * 3000}{"]" * 3000}'],
    ids=["half", "inf", "deep"],
)
def test_a_line_that_is_broken_in_an_odd_way_hides_no_other_session(store: FileSessionStore, broken: str) -> None:
    manager = SessionManager(store)
    manager.create_session("ann", session_id="bad").add_message("user", "apple")
    manager.create_session("bob", session_id="good").add_message("user", "apple")
    log = store.path / "bad" / "log.jsonl"
    log.write_text(log.read_text().replace('"apple"', broken))
    (store.path / "bad" / "state.json").unlink()
    again = SessionManager(fresh(store))
    assert [header.session_id for header in again.list()] == ["good"]
    assert [hit.session_id for hit in again.search("apple")] == ["good"]
    assert [hit.session_id for hit in again.user("bob").search("apple")] == ["good"]
    assert copy_store(again.store, MemorySessionStore()).sessions == 1
    with pytest.raises(CorruptStore, match="bad") as raised:
        again.get_session("bad")
    assert "apple" not in str(raised.value)
    assert again.search("apple session:bad") == again.user("bob").search("apple session:bad") == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ancestors", [["x", 1]]),
        ("ancestors", [[["x"], 1]]),
        ("lineage", [[0, 0, None], [3, 0, None]]),
        ("lineage", [["x", 0]]),
        ("user_id", "\ud800"),
        ("session_id", ""),
        ("version", 10**23),
    ],
)
def test_a_header_with_odd_values_hides_no_other_session(store: FileSessionStore, field: str, value: object) -> None:
    manager = SessionManager(store)
    for name in ("bad", "good"):
        manager.create_session(session_id=name).add_message("user", "apple")
    state = store.path / "bad" / "state.json"
    saved = json.loads(state.read_text())
    saved["log_bytes"] = (store.path / "bad" / "log.jsonl").stat().st_size
    saved["header"] = {**saved["header"], "head": 1, field: value}
    state.write_text(json.dumps(saved))
    again = SessionManager(fresh(store))
    assert "good" in [header.session_id for header in again.list()]
    assert "good" in [hit.session_id for hit in again.search("apple")]
    assert again.clear_all() == 2


def test_a_session_that_could_not_be_read_for_a_while_is_listed_again(tmp_path: Path) -> None:
    first = SessionManager(FileSessionStore(tmp_path / "first"))
    for number in range(8):
        first.create_session(session_id=f"x{number}").add_message("user", "hello")
    shutil.copytree(tmp_path / "first", tmp_path / "copy", copy_function=shutil.copyfile)
    state = tmp_path / "copy" / "x7" / "state.json"
    state.write_text("{")
    assert len([*SessionManager(FileSessionStore(tmp_path / "copy")).each()]) == 7
    state.unlink()
    found = [header.session_id for header in SessionManager(FileSessionStore(tmp_path / "copy")).each(limit=3)]
    assert sorted(found) == [f"x{number}" for number in range(8)]


def test_a_time_that_is_like_ours_by_accident_loses_nobody(store: FileSessionStore) -> None:
    manager = SessionManager(store)
    for number in range(40):
        manager.create_session(session_id=f"s{number}").add_message("user", "hello")
    expected = [header.session_id for header in manager.each()]
    for number in range(4):
        log = store.path / f"s{number}" / "log.jsonl"
        os.utime(log, ns=(log.stat().st_mtime_ns + 60_000_000_000,) * 2)
    assert [header.session_id for header in SessionManager(fresh(store)).each(limit=3)] == expected
