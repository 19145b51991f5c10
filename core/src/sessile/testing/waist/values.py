"""What was committed comes back as it was: any text, any JSON value, under any key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sessile.log.encoding import to_json
from sessile.store.waist import Query
from sessile.testing.fixtures import StoreFixtures, born, capability, commit, say

TEXTS = ("", "ä\u2028\n\r\t\"\\'; DROP TABLE--", "x" * 1_000_000, "\U0001f600" * 10, "\x00\x7f")
VALUES = {
    "numbers": [1, 1.0, -1.0, 0, 0.0, True, 1e16, 1e22, 5e-324, 2**53 + 1, 2**70, 0.1],
    "texts": {"": "", "with \0": "a\0b", "\0": "\0", "long": "x" * 70_000, "x" * 300: "ü"},
    "keys": {"a.b": 1, "$set": {"$inc": 1}, "a'b\"": [], "_id": {}, "ключ": None},
    "nested": [[[], {}], {"a": [{"b": [1.0]}]}],
}


class ValuesTests(StoreFixtures):
    """See the module's text. Values are compared as JSON, as 1 == 1.0 == True in Python."""

    @capability("commit")
    @pytest.mark.parametrize("text", TEXTS)
    def test_any_text_comes_back(self, store: Any, text: str) -> None:
        header = commit(store, born("s"), say(text))
        (entry,) = store.read(header.log, 0, 1)
        assert entry.body == {"role": "user", "content": text}
        assert entry.hash == header.hash

    @capability("commit")
    @pytest.mark.parametrize("name", VALUES)
    def test_any_value_comes_back(self, store: Any, open_driven: Callable[[], Any], name: str) -> None:
        value = VALUES[name]
        header = commit(store, born("s", metadata={"new": value}), say("x", value=value), state={"first": value})
        header = commit(store, header, say("y"), state={"v": value, **dict.fromkeys(_keys(value), 1.0)}, metadata={"m": value})
        for opened in (store, open_driven()):
            for there in (opened.load("s"), *opened.find(Query())):
                assert to_json(there.to_dict()) == to_json(header.to_dict())
            assert to_json(opened.read(header.log, 0, 1)[0].body["value"]) == to_json(value)

    @capability("commit")
    @pytest.mark.parametrize("title", ["T" * 5000, "a\0b", "\0", "ü\n'\""])
    def test_any_title_comes_back(self, store: Any, title: str) -> None:
        header = commit(store, born("s", title=title), say("x"))
        assert store.load("s").title == title
        commit(store, header, title=f"{title}{title}")
        assert store.load("s").title == f"{title}{title}"
        assert [there.title for there in store.find(Query())] == [f"{title}{title}"]


def _keys(value: Any) -> list[str]:
    return [*value] if isinstance(value, dict) else []
