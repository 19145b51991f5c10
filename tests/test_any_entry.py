"""Entries of any JSON are the same, hashes too, wherever they are copied: from each kind of store to each other."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sessile import Session, SessionManager
from sessile.log.stamping import Draft
from sessile.store.opening import open_store
from sessile.testing.fixtures import born, commit
from sessile.testing.plugin import full
from sessile.transfer.copying import copy_store
from tests.stores import ALL, SERVERS, url_of

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT | st.just("x" * 3000),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
LONG = st.builds(lambda text, times: text * times, st.text("aä\u2028\U0001f600\x00", min_size=1, max_size=7), st.integers(1, 900))
SAID = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool"]), "content": TEXT | LONG},
    optional={"metadata": st.dictionaries(TEXT, VALUES, max_size=2), "name": TEXT},
)
IDS = TEXT.filter(bool) | st.from_regex(r"[0-9a-fA-F ]{1,20}", fullmatch=True)
DRAFTS = st.builds(
    lambda kind_and_body, **more: Draft(*kind_and_body, **more),
    st.tuples(st.just("message"), SAID) | st.tuples(st.just("a.b"), st.dictionaries(TEXT, VALUES, max_size=3)),
    id=IDS,
    turn=st.none() | IDS,
    time=st.floats(0, 1e11),
    raw=st.none() | TEXT,
    count=st.none() | st.integers(0, 2**40),
)


def test_entries_are_the_same_in_all_stores(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    with ExitStack() as opened:
        urls = {kind: url_of(kind, tmp_path) for kind in ALL}
        urls |= {kind: request.getfixturevalue(f"{kind}_server").url() for kind in SERVERS}
        stores = {kind: open_store(url) for kind, url in urls.items()}
        for store in stores.values():
            opened.callback(store.close)

        @settings(max_examples=300 if full(request.config) else 12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(st.permutations(sorted(stores)), st.lists(DRAFTS, min_size=1, max_size=6, unique_by=lambda draft: draft.id))
        def same(kinds: list[str], drafts: list[Draft]) -> None:
            try:
                header = commit(stores[kinds[0]], born("s"), *drafts)
                wanted = _entries(stores[kinds[0]])
                for source, target in pairwise(kinds):
                    assert copy_store(stores[source], stores[target]).problems == [], (source, target)
                    assert _entries(stores[target]) == wanted, (source, target)
                    assert stores[target].load("s").hash == header.hash, (source, target)
                    assert Session("s", store=stores[target]).verify(), (source, target)
            finally:
                for store in stores.values():
                    SessionManager(store).delete("s")

        same()


def _entries(store: Any) -> list[tuple[str, str]]:
    header = store.load("s")
    return [(entry.json, entry.hash) for entry in store.read(header.log, 0, header.head)]
