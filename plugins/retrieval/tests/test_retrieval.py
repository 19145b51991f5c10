"""The index: what it finds and for whom, what it keeps through faults, and that two embedders' vectors never meet."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessile.errors import Closed, InvalidInput, StoreError
from sessile_retrieval import Database, Index, Passage, Span


class Letters:
    """An embedder that counts letters."""

    near = 0.99

    def __init__(self, name: str = "letters", dimension: int = 26) -> None:
        self.name, self.dimension = name, dimension

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Any:
        counts = [[text.lower().count(chr(97 + n)) for n in range(self.dimension)] for text in texts]
        return np.array(counts, float) + 0.01


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "home" / "index.db")
    yield opened
    opened.close()


def said(*texts: str, owner: str = "ann", source: str = "s", first: int = 0, **more: Any) -> list[Passage]:
    return [Passage(owner, source, first + place, text, **more) for place, text in enumerate(texts)]


def found(index: Index, query: str, owner: str = "ann", **more: Any) -> list[int]:
    return [each.id for each in index.search(owner, query, **more)]


def test_words_are_found_in_any_form_and_the_best_comes_first(database: Database) -> None:
    index = Index(database)
    ids = index.add(said("The weather was bad", source="a"))
    ids += index.add(said("She prefers technical explanations, and technical books", source="b"))
    ids += index.add(said("A technical problem with the heating", source="c"))
    assert found(index, "technical explanation preferences") == [ids[1], ids[2]]
    assert found(index, "Zebra") == []
    assert found(index, "weather", limit=1) == [ids[0]]


def test_a_passage_is_found_by_what_its_neighbours_say(database: Database) -> None:
    index = Index(database)
    ids = index.add(said("How was your trip to Lisbon?", "I ate sardines every day", *["So it goes"] * 6))
    other = index.add(said("I ate sardines every day", source="elsewhere"))
    assert found(index, "Lisbon")[:2] == ids[:2]
    assert not {*other} & {*found(index, "Lisbon")}
    assert ids[6] not in found(index, "Lisbon")  # too far behind
    alone = index.add(said("I ate sardines, too", first=20, alone=True) + said("Lisbon again", first=21))
    assert alone[0] not in found(index, "Lisbon")


def test_a_passage_is_found_by_its_time_its_keys_and_who_says_it(database: Database) -> None:
    index = Index(database)
    (may,) = index.add(said("We moved", source="a", time=1_684_700_000.0))
    (june,) = index.add(said("We moved again", source="b", time=1_687_500_000.0, keys="relocation"))
    assert found(index, "what happened in May 2023?")[0] == may
    assert found(index, "the relocation") == [june]
    ben, eve = index.add([*said("I like tea", speaker="Ben"), *said("I like tea", source="t", speaker="Eve")])
    assert found(index, "what tea does Eve like?")[:2] == [eve, ben]


def test_an_owner_finds_nothing_of_another(database: Database) -> None:
    index = Index(database, Letters())
    index.add(said("my secret is 4711", owner="eve"))
    mine = index.add(said("my secret is a song"))
    index.embed()
    for query in ("secret 4711", 'owner : "o1"', "o1", "secret OR 4711", 'secret" OR owner : "o1', "NEAR(secret 4711)", "my*"):
        assert {*found(index, query)} <= {*mine}
    assert found(index, "secret", owner="nobody") == []


def test_only_what_is_within_the_spans_and_among_the_numbers(database: Database) -> None:
    index = Index(database)
    ids = index.add(said(*[f"tea number {n}" for n in range(6)]))
    other = index.add(said("tea elsewhere", source="t"))
    assert {*found(index, "tea", within=[Span("s", 1, 3), Span("t")])} == {ids[1], ids[2], *other}
    assert {*found(index, "tea", within=[Span("s", 4)])} == {*ids[4:]}
    assert found(index, "tea", within=[Span("s", 2, 3)], among={ids[2], ids[3]}) == [ids[2]]
    assert {*found(index, "tea", but={ids[0], ids[5]}, within=[Span("s")])} == {*ids[1:5]}
    assert found(index, "tea", within=[]) == found(index, "tea", among=()) == []
    assert found(index, "tea", within=[Span("unknown")]) == []


def test_what_is_taken_out_is_not_found_and_leaves_the_file(database: Database) -> None:
    index = Index(database, Letters())
    ids = index.add(said("tea", "coffee xylophone", "water"))
    index.embed()
    assert index.remove([ids[1], ids[1], 99]) == 1
    assert found(index, "coffee xylophone", limit=3) == []
    assert found(index, "tea") == [ids[0], ids[2]]  # water stands beside it now
    with database.reading() as db:
        assert db.execute("SELECT count(*) FROM vectors").fetchone() == (2,)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert database.path is not None
    assert b"xylophone" not in database.path.read_bytes() or sqlite3.sqlite_version_info < (3, 42)


def test_a_passage_at_the_place_of_another_takes_it(database: Database) -> None:
    index = Index(database)
    index.add(said("tea"))
    (now,) = index.add(said("coffee"))
    assert found(index, "coffee") == [now]
    assert found(index, "tea") == []


def test_two_embedders_vectors_never_meet(database: Database) -> None:
    old, new = Index(database, Letters("old")), Index(database, Letters("new", dimension=10))
    (row,) = old.add(said("abc"))
    old.embed()
    assert (old.lacking(), new.lacking()) == (0, 1)
    assert found(old, "cab") == [row]
    assert found(new, "cab") == []  # it has no vector of that one yet
    assert new.embed() == 0
    assert found(new, "cab") == found(old, "cab") == [row]


class Broken(Letters):
    """An embedder that returns what it is told to."""

    def __init__(self, returns: Any) -> None:
        super().__init__("broken", 2)
        self.returns = returns

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Any:
        if isinstance(self.returns, Exception):
            raise self.returns
        return self.returns


@pytest.mark.parametrize(
    "returns",
    [np.full((1, 2), np.nan), np.full((1, 2), np.inf), np.zeros((1, 3)), np.zeros((2, 2)), np.zeros(2), [], OSError("down")],
)
def test_an_embedder_that_fails_loses_no_text(database: Database, returns: Any) -> None:
    index = Index(database, Broken(returns))
    (row,) = index.add(said("tea"))
    with pytest.raises((InvalidInput, OSError)):
        index.embed()
    assert index.lacking() == 1
    assert found(Index(database), "tea") == [row]


@pytest.mark.parametrize("embedder", [object(), "letters", Letters(dimension=0), Letters(name=5)])  # type: ignore[arg-type]
def test_what_is_no_embedder_is_refused(database: Database, embedder: Any) -> None:
    with pytest.raises(InvalidInput, match="embedder"):
        Index(database, embedder)


@pytest.mark.parametrize("query", ["", "  ", "?!", '"', "***", "\N{SNOWMAN}"])
def test_a_query_without_a_word_is_refused(database: Database, query: str) -> None:
    with pytest.raises(InvalidInput, match="no word"):
        Index(database).search("ann", query)


@pytest.mark.parametrize(
    "query",
    ['"', 'a"b', "tea*", "NEAR(tea, 2)", "tea AND", "-tea", "said : tea", "tea\x00", "t" * 100_000, "tea " * 9999],
)
def test_signs_of_the_query_language_are_no_commands(database: Database, query: str) -> None:
    index = Index(database)
    index.add(said("tea"))
    found(index, query + " tea")


def test_a_large_text_and_one_in_any_script_are_kept(database: Database) -> None:
    index = Index(database, Letters())
    ids = index.add(
        [*said("word " * 200_000), *said("猫が好き", source="b"), *said("Ärger mit Zoë", source="c"), *said("", source="d")]
    )
    index.embed()
    assert found(index, "猫が好き")[0] == ids[1]
    assert found(index, "arger zoe")[0] == ids[2]
    assert index.lacking() == 0


def test_the_file_is_its_owners_and_no_other_file_is_written(tmp_path: Path) -> None:
    path = tmp_path / "home" / "a.db"
    database = Database(path)
    Index(database)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    database.close()
    with pytest.raises(Closed):
        Index(database)
    with sqlite3.connect(tmp_path / "else.db") as other:
        other.execute("CREATE TABLE mine (x)")
    other.close()
    before = (tmp_path / "else.db").read_bytes()
    with pytest.raises(StoreError, match="something else"):
        Index(Database(tmp_path / "else.db"))
    assert (tmp_path / "else.db").read_bytes() == before


def test_a_transaction_is_stored_whole_or_not_at_all(database: Database) -> None:
    index = Index(database)

    def fails() -> None:
        with database.writing():
            index.add(said("tea"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert found(index, "tea") == []


def _add_until_killed(path: Path, told: Any) -> None:
    index = Index(Database(path), Letters())
    for number in range(100_000):
        index.add(said(f"tea {number}", source=f"{os.getpid()}", first=number))
        told.send(number)
        if number % 7 == 0:
            index.embed(3)
        if number % 11 == 5:
            index.remove(found(index, f"{number - 2}", limit=1))


def test_a_process_that_is_killed_loses_nothing_that_was_added(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    path = tmp_path / "a.db"
    context = multiprocessing.get_context("spawn")
    for attempt in range(50 if request.config.getoption("--full") else 2):
        here, there = context.Pipe()
        worker = context.Process(target=_add_until_killed, args=(path, there))
        worker.start()
        last = -1
        while last < 20 + attempt % 13:
            last = here.recv()
        time.sleep(attempt % 5 / 200)
        os.kill(worker.pid or 0, signal.SIGKILL)
        worker.join()
        while here.poll():
            last = here.recv()
        index = Index(Database(path), Letters())
        assert index.embed() == 0
        with Database(path).reading() as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            places = {row for (row,) in db.execute("SELECT place FROM passages WHERE source = ?", (str(worker.pid),))}
        removed = {number - 2 for number in range(last + 2) if number % 11 == 5}
        assert {*range(last + 1)} - removed <= places
        assert found(index, f"tea {last}")


def test_threads_and_another_index_add_and_search_at_once(tmp_path: Path) -> None:
    indexes = [Index(Database(tmp_path / "a.db"), Letters()) for _ in range(2)]
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            index = indexes[number % 2]
            for place in range(25):
                index.add(said(f"tea {number} {place}", source=f"s{number}", first=place))
                index.embed(5)
                assert found(index, "tea")
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    for index in indexes:
        assert index.embed() == 0
        assert len(found(index, "tea", limit=1000)) == 100


Step = st.tuples(
    st.sampled_from(["add", "remove", "embed"]), st.sampled_from("ab"), st.integers(0, 5), st.sampled_from(["tea", "cup"])
)


@settings(max_examples=60, deadline=None)
@given(st.lists(Step, max_size=25))
def test_an_index_that_follows_finds_what_a_new_one_finds(steps: list[tuple[str, str, int, str]]) -> None:
    """Whatever is added, in whatever order, and taken out: what is kept in memory is what the file says."""
    database = Database()
    index = Index(database, Letters())
    model: dict[tuple[str, int], int] = {}
    for step, source, place, text in steps:
        if step == "add":
            (model[source, place],) = index.add([Passage("ann", source, place, text)])
        elif step == "remove" and (source, place) in model:
            index.remove([model.pop((source, place))])
        elif step == "embed":
            index.embed(2)
        for query in ("tea", "cup"):
            now, anew = (each.search("ann", query, limit=50) for each in (index, Index(database, Letters())))
            assert {hit.id: hit.score for hit in now} == pytest.approx({hit.id: hit.score for hit in anew}, abs=1e-3)
            assert {hit.id for hit in now} <= {*model.values()}
    database.close()
