"""The documented uses that need a server, on real ones."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from sessile import Agent, MemoryConfig, Session
from sessile.sessions import RedisSessionStore


def test_agents_remember_in_a_database(postgres_server: Any, redis_server: Any, mongodb_server: Any) -> None:
    for url in (postgres_server.url(), redis_server.url(), mongodb_server.url()):
        for _ in range(2):
            agent = Agent(name="Assistant", model="echo", memory={"session_id": "user-123", "db": url})
            agent.start("hello")
        with Session("user-123", store=url) as session:
            assert [message.text for message in session.messages] == ["hello"] * 4


def test_a_backend_by_name_with_its_address(postgres_server: Any, redis_server: Any) -> None:
    for backend, url in (("postgres", postgres_server.url()), ("redis", redis_server.url())):
        memory = MemoryConfig(session_id="user-123-main", user_id="user-123", backend=backend, db=url)
        Agent(name="Assistant", model="echo", memory=memory).chat("hello")
        with Session("user-123-main", store=url) as session:
            assert (session.user_id, session.message_count) == ("user-123", 2)


def test_a_store_with_a_prefix_and_an_expiry(redis_server: Any) -> None:
    url = redis_server.url()
    store = RedisSessionStore(url=url, prefix="pyai:sessions:", ttl=86400)
    Session("s", store=store).add_message("user", "x")
    client = store.engine(False).client
    keys = [key for key in client.scan_iter() if b"{s}" in key]
    assert len(keys) == 2
    for key in keys:
        assert key.startswith(b"pyai:sessions:")
        assert 86000 < client.ttl(key) <= 86400 * (1 if key.endswith(b":header") else 1.1)  # a log lives a little longer
    store.close()


def test_a_session_whose_state_is_on_another_server(redis_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Load before, save after, with an expiry, in a Redis that the recipe itself talks to."""
    import redis

    class DistributedSession(Session):
        def __init__(self, *args: Any, redis_host: str = "localhost", redis_port: int = 6379, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.redis_client = redis.Redis(host=redis_host, port=redis_port)
            self.state_key = f"session:{self.session_id}"

        def save_state(self) -> None:  # type: ignore[override]
            state = {
                "history": self.get_history(),
                "user_data": getattr(self, "user_data", {}),
                "metadata": getattr(self, "metadata", {}),
            }
            self.redis_client.set(self.state_key, json.dumps(state), ex=3600)

        def load_state(self) -> bool:
            state_data = self.redis_client.get(self.state_key)
            if state_data:
                state = json.loads(state_data)
                self.set_history(state["history"])
                self.user_data = state["user_data"]
                self.metadata = state["metadata"]
                return True
            return False

        def chat(self, message: str) -> str:  # type: ignore[override]
            self.load_state()
            response = super().chat(message)
            self.save_state()
            return response

    where = urlsplit(redis_server.url())
    options = {"redis_host": where.hostname, "redis_port": where.port, "store": "memory://", "agent": Agent(model="echo")}
    first, second = DistributedSession("d", **options), DistributedSession("d", **options)
    first.user_data = {"plan": "free"}
    assert first.chat("one") == "one"
    assert second.chat("two") == "two"
    assert second.user_data == {"plan": "free"}
    assert first.chat("three") == "three"
    assert [message.text for message in first.messages] == ["one", "one", "two", "two", "three", "three"]
    assert 3500 < first.redis_client.ttl(first.state_key) <= 3600
    for session in (first, second):
        session.redis_client.close()
