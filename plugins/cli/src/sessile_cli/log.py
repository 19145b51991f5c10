"""`sessile session log` and `tree`: the turns of a session, and the tree of forks it is in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from sessile import Message
from sessile_cli.options import limit_option, on_session
from sessile_cli.output import LINE, TITLE, content_of, message_json, one_line, print_json, say, summary_json
from sessile_cli.sessions import existing, session

BY_ITSELF = ("before revert", "before undo", "before redo")  # the labels of what these verbs leave behind

Node = dict[str, Any]  # a session in a tree of forks, with its "children"


@session.command()
@on_session
def tree(session_id: str, user: str | None, store: str | None, as_json: bool) -> None:
    """The tree of forks that a session is in."""
    top = existing(session_id, user, store).tree()
    for node in _nodes(top):
        node.update(summary_json(node))
    _show(top, lambda node: [_title(node)], as_json)


@session.command()
@click.option("--graph", is_flag=True, help="The whole tree of forks, with what was said in each.")
@limit_option("At most so many turns of each session.", 20)
@on_session
def log(session_id: str, user: str | None, store: str | None, as_json: bool, graph: bool, limit: int) -> None:
    """The turns of a session with their labels, oldest first."""
    found = existing(session_id, user, store)
    if not graph:
        top = {**found.get_context(), "children": [], **_turns(found, None, limit)}
    else:
        top = found.tree()
        opened: dict[str | None, Any] = {}
        for node in _nodes(top):  # parents first
            one = opened[node["session_id"]] = existing(node["session_id"], user, store)
            node.update(summary_json(node) | _turns(one, opened.get(one.parent), limit))
    _show(top, _lines, as_json)


def _nodes(top: Node) -> Iterator[Node]:
    """A node and all below it."""
    waiting = [top]
    for node in waiting:  # grows meanwhile
        yield node
        waiting += node["children"]


def _labels(found: Any) -> dict[int, list[str]]:
    """The labels that people gave the session itself, by the number of messages they are behind."""
    labels: dict[int, list[str]] = {}
    for point in found.snapshots():
        by_itself = point.label in BY_ITSELF or point.metadata.get("automatic")
        if point.session_id == found.session_id and point.label and not by_itself:
            labels.setdefault(point.count, []).append(point.label)
    return labels


def _turns(found: Any, parent: Any, limit: int) -> dict[str, Any]:
    """ "turns", the last `limit`, each with its messages, their numbers and the labels behind them; "labels" before them.

    parent: the session whose messages are left out; None: all of them are a session's own.
    """
    labels = _labels(found)
    if parent:
        own = found.diff(parent, found).b
        start = before = found.message_count - len(own)
    else:
        own, before = _last(found, limit)
        start = 0
    turns: list[dict[str, Any]] = []
    for said in _grouped(own):
        numbered = [Message(message_json(one), number=n, labels=labels.get(n, [])) for n, one in enumerate(said, before + 1)]
        turns.append({"turn": said[0].turn, "messages": numbered})
        before += len(said)
    at_start = labels.get(start, []) if not start or not own else []
    return {"labels": at_start, "turns": turns[max(0, len(turns) - limit) :]}


def _last(found: Any, limit: int) -> tuple[Sequence[Any], int]:
    """The session's last `limit` complete turns as messages, and how many messages come before them."""
    size = 4 * limit
    while True:
        count = found.message_count
        messages = found.get_history(size)
        if len(messages) == min(size, count) and found.message_count == count:  # else somebody changed it meanwhile
            if not limit or size >= count or len(_grouped(messages)) > limit:
                return messages, count - len(messages)
            size *= 4


def _grouped(messages: Sequence[Any]) -> list[list[Any]]:
    """Messages turn by turn. Outside of turns, a user's message begins one."""
    turns: list[list[Any]] = []
    for said in messages:
        if not turns or said.turn != turns[-1][0].turn or (said.turn is None and said.role == "user"):
            turns.append([])
        turns[-1].append(said)
    return turns


def _lines(node: Node) -> list[str]:
    """A session's title; a line for each message, and one for each label behind the message it was given at."""
    lines = [_title(node), *(f"  [{one_line(label)}]" for label in node["labels"])]
    for said in (said for turn in node["turns"] for said in turn["messages"]):
        lines.append(f"{'*' if said.role == 'user' else ' '} {said.role}: {one_line(content_of(said), LINE)}")
        lines += [f"  [{one_line(label)}]" for label in said.labels]
    return lines


def _title(node: Node) -> str:
    title = f" “{one_line(node['title'], TITLE)}”" if node["title"] else ""
    return f"{node['session_id']}{title} ({node['message_count']} messages)"


def _show(top: Node, describe: Callable[[Node], list[str]], as_json: bool) -> None:
    if as_json:
        print_json(top)
        return
    for line in _drawn(top, describe):
        say(line)


def _drawn(top: Node, describe: Callable[[Node], list[str]]) -> Iterator[str]:
    """A tree as lines: what `describe` says of each node, its children below it."""
    waiting = [(top, "", "")]
    while waiting:  # no recursion: a fork of a fork of a fork may lie deep
        node, first, rest = waiting.pop()
        head, *body = describe(node)
        yield first + head
        children = node["children"]
        for line in body:
            yield rest + ("│ " if children else "  ") + line
        for child in reversed(children):
            last = child is children[-1]
            waiting.append((child, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  ")))
