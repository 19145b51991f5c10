"""A byte that changed on the disk: it is read as it was, or the error says so, or `verify` names it. Nothing crashes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sessile import Session, SessionManager
from sessile.errors import SessileError
from sessile.testing.plugin import full
from tests.stores import DURABLE, url_of

SAID: tuple[dict[str, Any], ...] = (
    {"role": "user", "content": "What is in the box?"},
    {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "name": "look", "arguments": {"in": "box"}}]},
    {"role": "tool", "content": "a cat", "tool_call_id": "c1", "name": "look"},
    {"role": "assistant", "content": "A cat. " * 200, "metadata": {"sure": 0.5}},
    {"role": "user", "content": "Thank you", "raw": '{"text": "Thank you"}'},
)


def everything(url: str) -> list[dict[str, Any]]:
    with Session("s", store=url) as session:
        return [dict(said) for said in session.messages]


def whole(url: str) -> bool:
    with Session("s", store=url) as session:
        return bool(session.verify())


def known(url: str) -> bool:
    with SessionManager(url) as manager:
        return manager.exists("s")


@pytest.mark.parametrize("kind", DURABLE)
def test_each_byte_of_a_small_session_that_changes(kind: str, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    url = url_of(kind, tmp_path)
    with Session("s", store=url) as session:
        session.add_messages(SAID)
        session.set_state("k", 1)
        session.snapshot("here")
        session.add_message("user", "and good bye")
    before = everything(url)
    for path in [path for path in sorted(tmp_path.rglob("*")) if path.is_file()]:
        data = path.read_bytes()
        step = 1 if full(pytestconfig) else 1 + len(data) // 250
        for place in range(len(data) % step, len(data), step):
            for change in (0x01, 0x80) if full(pytestconfig) else (0x01 if place // step % 2 else 0x80,):
                path.write_bytes(data[:place] + bytes([data[place] ^ change]) + data[place + 1 :])
                named = (path.name, place, change)
                try:
                    now = everything(url)
                except SessileError:
                    pass
                else:
                    # a log whose last line does not end a commit is as that of a writer who was killed: it ends before
                    cut = path.name == "log.jsonl" and place > data.rindex(b'"commit":{') and now == before[:-1]
                    assert now == before or cut or not whole(url) or not known(url), named
                path.write_bytes(data)
    assert everything(url) == before
