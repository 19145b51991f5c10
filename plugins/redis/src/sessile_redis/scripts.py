"""The Lua scripts. A server that does not know one, as after a restart, is sent its text."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha1
from pathlib import Path
from typing import Any

import attrs
from redis.exceptions import NoScriptError

from sessile.store import MARGIN, maybe

_FOLDER = Path(__file__).parent
_INDEX = (_FOLDER / "index.lua").read_text()


@attrs.frozen
class Script:
    """A Lua script: its text, and the hash that servers know it by."""

    text: str
    sha: str

    @classmethod
    def of(cls, name: str, *, index: bool = True) -> Script:
        """The script in a file; index: with the functions of `index.lua` before it."""
        text = (_FOLDER / f"{name}.lua").read_text().replace("MARGIN", repr(1 + MARGIN))
        text = f"{_INDEX}\n{text}" if index else text
        return cls(text, sha1(text.encode(), usedforsecurity=False).hexdigest())

    async def run(self, client: Any, keys: Sequence[str], *arguments: Any) -> Any:
        """Run it on some keys, and return what it does."""
        try:
            return await maybe(client.evalsha(self.sha, len(keys), *keys, *arguments))
        except NoScriptError:
            return await maybe(client.eval(self.text, len(keys), *keys, *arguments))

    async def run_each(self, client: Any, calls: Sequence[tuple[Sequence[str], Sequence[Any]]], *, cluster: bool) -> list[Any]:
        """Run it once for each (keys, arguments), in one round trip where the client can do that."""
        if cluster or len(calls) < 2:
            return [await self.run(client, keys, *arguments) for keys, arguments in calls]
        done = [await self.run(client, calls[0][0], *calls[0][1])]  # the server knows it now
        pipeline = client.pipeline(transaction=False)
        for keys, arguments in calls[1:]:
            pipeline.evalsha(self.sha, len(keys), *keys, *arguments)
        return done + await maybe(pipeline.execute())


COMMIT = Script.of("commit")
DELETE = Script.of("delete")
LAST = Script.of("last", index=False)
TOUCH = Script.of("touch", index=False)
FLAG = Script.of("flag")
SETTLE = Script.of("settle")
PAGE = Script.of("page", index=False)
REBUILD = Script.of("rebuild")
