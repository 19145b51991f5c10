"""A writer process of the conformance kit: appends messages to one session and prints the number of each once it is stored.

    python -m sessile.testing.driving.writer URL SESSION NAME COUNT [BATCH]

COUNT 0 means until killed. With BATCH, so many messages are one commit.
"""

from __future__ import annotations

import sys
from itertools import count

from sessile.session import Session


def main(url: str, session_id: str, name: str, number: str, batch: str = "1") -> None:
    with Session(session_id, store=url, timeout=120) as session:
        for index in range(int(number)) if int(number) else count():
            if batch == "1":
                session.add_message("user", f"{name} {index}")
            else:
                session.add_messages([("user", f"{name} {index}.{part}") for part in range(int(batch))])
            print(index, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
