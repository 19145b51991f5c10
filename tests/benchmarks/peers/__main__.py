"""sessile beside the sessions of other frameworks: `uv run --group peers python -m tests.benchmarks.peers`.

Prints one table in Markdown. What is compared, and what is not, is said in `contestants.py`.
"""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.peers import contestants as ours
from tests.benchmarks.peers import frameworks
from tests.benchmarks.peers.contestants import Contestant
from tests.benchmarks.peers.measuring import RUNS, measure, sync_time
from tests.benchmarks.peers.table import footnotes, table

OURS = (ours.Floor, ours.SQLite, ours.SQLiteTurns, ours.File, ours.FileTurns)
FRAMEWORKS = (
    frameworks.OpenAIAgents,
    frameworks.OpenAIAgentsTurns,
    frameworks.ADK,
    frameworks.LangGraph,
    frameworks.LangGraphUpdates,
)
COMMAND = "uv run --group peers python -m tests.benchmarks.peers"


def compare(kinds: Sequence[type[Contestant]], lengths: Sequence[int], folder: Path) -> str:
    """The table and its footnotes. kinds: the floor is the first. folder: files are made in it, and left there."""
    measured = {}
    for length in lengths:
        measured[length] = measure([_made(kind, folder / f"{length}" / kind.__name__) for kind in kinds], length, _tell)
    disk = (
        f"Medians of {RUNS} runs; in brackets, the median of the ratios to the first row of that length in the same run. "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}. "
        f"A write of 1,000 bytes and a sync take {sync_time(folder) * 1e6:,.0f} µs on this disk."
    )
    return "\n\n".join([table(kinds, measured), disk, footnotes(kinds, measured)])


def _made(kind: type[Contestant], folder: Path) -> Contestant:
    folder.mkdir(parents=True)
    return kind(folder)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _lengths(text: str) -> list[int]:
    lengths = [int(part) for part in text.split(",")]
    if min(lengths) < 50 or any(length % 2 for length in lengths):
        raise ValueError
    return list(dict.fromkeys(lengths))


def main() -> None:
    parser = argparse.ArgumentParser(prog=COMMAND, description="sessile beside the sessions of other frameworks")
    text = "messages in a session, even numbers from 50 on, with commas; 1000000 takes ten minutes more (default: 100,10000)"
    parser.add_argument("--lengths", type=_lengths, default=[100, 10_000], help=text)
    text = "where files are made and removed again; not in memory, where syncing costs nothing (default: the temporary folder)"
    parser.add_argument("--folder", type=Path, help=text)
    options = parser.parse_args()
    os.environ.update(frameworks.QUIET)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        try:
            print(compare(OURS + FRAMEWORKS, options.lengths, Path(folder)))
        except ImportError as error:
            parser.error(f"{error.name or error} is not installed: run {COMMAND}")


if __name__ == "__main__":
    main()
