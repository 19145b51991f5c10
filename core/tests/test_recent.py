"""What stores remember of sessions: what was used last."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from sessile.store import Recent


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6))))
def test_what_was_used_longest_ago_goes(steps: list[tuple[bool, int]]) -> None:
    recent = Recent[int, int](3)
    plain: dict[int, int] = {}
    for sets, key in steps:
        if sets:
            recent[key] = -key
            plain.pop(key, None)
            plain[key] = -key
            if len(plain) > 3:
                del plain[next(iter(plain))]
        else:
            assert recent.get(key, "none") == plain.get(key, "none")
            if key in plain:
                plain[key] = plain.pop(key)
    assert list(recent.items()) == list(plain.items())


def test_threads_may_share_it() -> None:
    recent = Recent[int, int](10)

    def use(first: int) -> None:
        for number in range(20_000):
            recent[(first + number) % 30] = number
            recent.get(number % 30)
            recent.pop(number % 7, None)

    threads = [threading.Thread(target=use, args=[n]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(recent) <= 10
