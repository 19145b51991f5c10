"""The floors on servers: what somebody would write by hand on the same driver, with the same durability."""

from __future__ import annotations

import json
import secrets
import time
from typing import Any
from urllib.parse import urlsplit

from tests.benchmarks.floor import TEXT


def entry(text: str) -> str:
    message = {"id": secrets.token_hex(10), "role": "user", "content": text, "time": time.time(), "turn": None}
    return json.dumps(message)


class RedisFloor:
    """One EVALSHA: check the version, set the header's fields, add the entry, and the session to its user's list."""

    SCRIPT = """
    if redis.call('HGET', KEYS[1], 'version') ~= ARGV[1] then return 0 end
    redis.call('HSET', KEYS[1], 'version', ARGV[1] + 1, 'count', ARGV[1] + 1, 'updated', ARGV[2])
    redis.call('RPUSH', KEYS[2], ARGV[3])
    redis.call('ZADD', KEYS[3], ARGV[2], ARGV[4])
    return 1
    """

    def __init__(self, url: str) -> None:
        import redis

        self.client = redis.Redis.from_url(url)
        self.sha = self.client.script_load(self.SCRIPT)
        self.version = 0
        self.client.hset("floor:s", mapping={"version": 0, "user": "u"})

    def append(self, text: str = TEXT) -> None:
        keys = ["floor:s", "floor:s:log", "floor:by_user:u"]
        assert self.client.evalsha(self.sha, 3, *keys, self.version, time.time(), entry(text), "s") == 1
        self.version += 1

    def last(self, count: int) -> list[Any]:
        return [json.loads(line) for line in self.client.lrange("floor:s:log", -count, -1)]

    def fill_page(self, count: int) -> None:
        pipeline = self.client.pipeline(transaction=False)
        for number in range(count):
            header = {"user": "many", "version": 1, "count": 1, "updated": float(number), "title": "", "status": "active"}
            pipeline.hset(f"floor:p{number}", mapping={**header, "metadata": "{}", "state": "{}"})
            pipeline.zadd("floor:by_user:many", {f"p{number}": float(number)})
        pipeline.execute()

    def page(self, count: int) -> list[Any]:
        ids = self.client.zrevrange("floor:by_user:many", 0, count - 1)
        pipeline = self.client.pipeline(transaction=False)
        for session_id in ids:
            pipeline.hgetall(b"floor:" + session_id)
        return [
            {**{name.decode(): value.decode() for name, value in header.items()}, "state": json.loads(header[b"state"])}
            for header in pipeline.execute()
        ]

    def close(self) -> None:
        self.client.close()


class PostgresFloor:
    """One transaction of two statements on one connection. session: several floors may share the tables."""

    def __init__(self, url: str, session: str = "s") -> None:
        import psycopg

        self.db = psycopg.connect(url, autocommit=True)
        self.session = session
        self.db.execute(
            "CREATE TABLE IF NOT EXISTS floor "
            "(id text PRIMARY KEY, user_id text, version bigint, count bigint, updated float8, data jsonb)"
        )
        self.db.execute("CREATE INDEX IF NOT EXISTS floor_users ON floor (user_id, updated)")
        self.db.execute(
            "CREATE TABLE IF NOT EXISTS floor_entries "
            "(session text, position bigint, data jsonb, PRIMARY KEY (session, position))"
        )
        self.db.execute("INSERT INTO floor VALUES (%s, 'u', 0, 0, 0, '{}')", (session,))
        self.version = 0

    def append(self, text: str = TEXT) -> None:
        sql = "UPDATE floor SET version = version + 1, count = count + 1, updated = %s WHERE id = %s AND version = %s"
        with self.db.transaction():
            assert self.db.execute(sql, (time.time(), self.session, self.version)).rowcount == 1
            self.db.execute("INSERT INTO floor_entries VALUES (%s, %s, %s)", (self.session, self.version, entry(text)))
        self.version += 1

    def last(self, count: int) -> list[Any]:
        sql = "SELECT data FROM floor_entries WHERE session = %s ORDER BY position DESC LIMIT %s"
        return [data for (data,) in self.db.execute(sql, (self.session, count)).fetchall()][::-1]

    def fill_page(self, count: int) -> None:
        data = '{"title": "", "status": "active", "metadata": {}, "state": {}}'
        self.db.execute(
            "INSERT INTO floor SELECT 'p' || n, 'many', 1, 1, n, %s::jsonb FROM generate_series(1, %s) n", (data, count)
        )
        self.db.execute("ANALYZE floor")

    def page(self, count: int) -> list[Any]:
        sql = "SELECT id, user_id, version, count, updated, data FROM floor WHERE user_id = 'many' ORDER BY updated DESC LIMIT %s"
        rows = self.db.execute(sql, (count,)).fetchall()
        return [{"id": r[0], "user": r[1], "version": r[2], "count": r[3], "updated": r[4], **r[5]} for r in rows]

    def close(self) -> None:
        self.db.close()


class MongoFloor:
    """One update of one document that keeps the last hundred entries."""

    def __init__(self, url: str) -> None:
        from pymongo import MongoClient

        self.client: Any = MongoClient(url, w="majority", journal=True, retryWrites=False)
        self.sessions = self.client[urlsplit(url).path[1:]]["floor"]
        self.sessions.create_index([("user_id", 1), ("updated", -1)])
        self.sessions.insert_one({"_id": "s", "user_id": "u", "version": 0, "count": 0, "tail": []})
        self.version = 0

    def append(self, text: str = TEXT) -> None:
        change = {
            "$set": {"version": self.version + 1, "count": self.version + 1, "updated": time.time()},
            "$push": {"tail": {"$each": [entry(text)], "$slice": -100}},
        }
        assert self.sessions.update_one({"_id": "s", "version": self.version}, change).matched_count == 1
        self.version += 1

    def last(self, count: int) -> list[Any]:
        found = self.sessions.find_one({"_id": "s"}, {"tail": {"$slice": -count}})
        return [json.loads(line) for line in found["tail"]]

    def fill_page(self, count: int) -> None:
        more = {"version": 1, "count": 1, "title": "", "status": "active", "metadata": "{}", "state": "{}"}
        self.sessions.insert_many([{"_id": f"p{n}", "user_id": "many", "updated": float(n), **more} for n in range(count)])

    def page(self, count: int) -> list[Any]:
        found = self.sessions.find({"user_id": "many"}, {"tail": 0}).sort("updated", -1).limit(count)
        return [{**header, "state": json.loads(header["state"])} for header in found]

    def close(self) -> None:
        self.client.close()
