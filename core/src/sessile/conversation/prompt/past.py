"""The past of a conversation: its turns as they are read back from the log.

Writers may interleave in the log; here each turn is contiguous, in the order in which the turns began. A handle keeps
the past it last saw, so that a turn reads only what others said meanwhile.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence

from sessile.conversation.messages import Message, ToolCall, from_entry, handed_out
from sessile.drive.locks import new_lock
from sessile.log.entries import Entry
from sessile.log.header import Header

KEPT = 500  # messages that a handle keeps, or a little more

CountTokens = Callable[[str], int]


class PastTurn:
    """The messages of one turn; or, outside of turns (`id` None), a message and those that follow it up to the next user's."""

    __slots__ = ("_sendable", "id", "messages")

    def __init__(self, first: Message, turn_id: str | None) -> None:
        self.id = turn_id
        self.messages = [first]
        self._sendable: tuple[CountTokens, list[Message], int, bool] | None = None

    def add(self, said: Message) -> None:
        """Add what was said next."""
        self.messages.append(said)
        self._sendable = None

    @property
    def open(self) -> bool:
        """Is it a turn without a reply, or with tool calls that have no results?"""
        return self.id is not None and _is_open(self.messages, 0, len(self.messages))

    def shown(self) -> list[Message]:
        """The messages as a history shows them: those of an open turn have `open` set."""
        return [Message(said, open=True) for said in self.messages] if self.open else self.messages

    def sendable(self, count_tokens: CountTokens) -> tuple[list[Message], int]:
        """What of it may be sent to a model, and how many tokens that is: nothing of an open turn, and no unpaired call.

        The messages are the receiver's own (see `handed_out`).
        """
        if self._sendable is None or self._sendable[0] is not count_tokens:
            sent = [] if self.open else _paired(self.messages)
            plain = all(map(operator.is_, sent, handed_out(sent)))
            self._sendable = count_tokens, sent, tokens_of(sent, count_tokens), plain
        _, sent, tokens, plain = self._sendable
        return sent if plain else handed_out(sent), tokens


class Past:
    """The turns that began in the last part of a session, up to `end`, a position in its own log.

    Threads and tasks may share it: each reads what is missing by itself, and what another added meanwhile is left out.
    header: the session when the part was read. whole: it is not a part but all.
    """

    def __init__(self, header: Header, messages: Iterable[Message], *, whole: bool) -> None:
        self.end, self._hash = header.head, header.hash
        self.whole = whole
        self.count = 0
        self._turns: dict[object, PastTurn] = {}  # by turn id; what is outside of turns by itself, as message ids may repeat
        self._loose: PastTurn | None = None  # the last group of messages outside of turns, which may still grow
        self._lineage = header.lineage
        self._log = header.log
        self._lock = new_lock()
        self._sound = True  # not while something is being added: a signal may cut that short
        self._add(messages)

    def _add(self, messages: Iterable[Message]) -> None:
        turns, loose = self._turns, self._loose
        for said in messages:
            key = said.get("turn")
            if key is None:
                if loose is None or said["role"] == "user":
                    loose = PastTurn(said, None)
                    turns[loose] = loose
                else:
                    loose.add(said)
            elif key in turns:
                turns[key].add(said)
            elif key == said["id"] or self.whole:
                turns[key] = PastTurn(said, key)
                loose = None
            else:
                continue  # of a turn that began before this part
            self.count += 1
        self._loose = loose

    def fits(self, header: Header) -> bool:
        """Does this still match the header: same log, no revert since? Where there are more entries, see `leads_to`, too."""
        same = self._sound and self._lineage == header.lineage and self._log == header.log
        return same and (self.end < header.head or (self.end == header.head and self._hash == header.hash))

    def leads_to(self, entries: Sequence[Entry]) -> bool:
        """Are these what follows? Not where an older copy of the store was put back, and went on."""
        return not entries or entries[0].position > self.end or entries[0].prev == self._hash

    def extend(self, header: Header, entries: Iterable[Entry]) -> None:
        """Add what was said up to the header's head."""
        with self._lock:
            self._sound = False
            self._add(from_entry(entry) for entry in entries if entry.kind == "message" and entry.position >= self.end)
            if header.head >= self.end:
                self.end, self._hash = header.head, header.hash
            if self.count > 2 * KEPT:
                self._forget()
            self._sound = True

    def _forget(self) -> None:
        while self.count > KEPT and len(self._turns) > 1:
            oldest = next(iter(self._turns))
            self.count -= len(self._turns.pop(oldest).messages)
        self.whole = False

    def committed(self, before: Header, after: Header, entries: Sequence[Entry]) -> None:
        """Add what the handle committed itself, if nothing is missing in between."""
        fits = self.end + len(entries) == after.head and self.fits(before) and self._lineage == after.lineage
        if fits and self.leads_to(entries):
            self.extend(after, entries)

    def last(self, limit: int | None) -> list[PastTurn]:
        """The last turns that have `limit` messages together, oldest first; all of them for None."""
        with self._lock:
            if limit is None or limit >= self.count:
                return list(self._turns.values())
            turns: list[PastTurn] = []
            for turn in reversed(self._turns.values()):
                turns.append(turn)
                limit -= len(turn.messages)
                if limit <= 0:
                    break
        return turns[::-1]


def all_shown(header: Header, messages: list[Message]) -> list[Message]:
    """All messages of a session, in the order of the log, as its history shows them."""
    bounds: dict[str, tuple[int, int]] = {}  # of turns: where the messages of each begin and end
    begin, turn = 0, None
    for index, said in enumerate(messages):
        if (now := said.get("turn")) != turn:
            if turn is not None:
                bounds[turn] = begin, index
            if now in bounds:  # others have spoken in between
                return as_shown(Past(header, messages, whole=True).last(None))
            begin, turn = index, now
    if turn is not None:
        bounds[turn] = begin, len(messages)
    for begin, end in bounds.values():
        if _is_open(messages, begin, end):
            messages[begin:end] = [Message(said, open=True) for said in messages[begin:end]]
    return messages


def _is_open(messages: Sequence[Message], begin: int, end: int) -> bool:
    """Is a turn without a reply, or with tool calls that have no results?"""
    last = messages[end - 1]
    if last["role"] != "assistant":
        return True
    return ("tool_calls" in last or end - begin > 2) and bool(unanswered(messages[begin:end]))


def as_shown(turns: Iterable[PastTurn]) -> list[Message]:
    """The messages of these turns as a history shows them."""
    return [said for turn in turns for said in (turn.messages if turn.id is None else turn.shown())]


def unanswered(messages: Iterable[Message]) -> list[ToolCall]:
    """The tool calls among these messages that have no result behind them: a result answers one call, as ids may come again."""
    pending: list[ToolCall] = []
    for said in messages:
        if said["role"] == "tool":
            answered = next((call for call in pending if call["id"] == said.get("tool_call_id")), None)
            pending = [call for call in pending if call is not answered]
        elif "tool_calls" in said:
            pending += said["tool_calls"]
    return pending


def tokens_of(messages: Iterable[Message], count_tokens: CountTokens) -> int:
    """Tokens of messages; each takes about four more for its role and its bounds."""
    return sum(count_tokens(said.text) + 4 for said in messages)


def _paired(messages: list[Message]) -> list[Message]:
    """Messages up to the first tool call without a result behind it, and without results that no such call precedes."""
    while True:
        sent: list[Message] = []
        pending: list[tuple[str, int]] = []  # the calls without a result so far: their ids, and where they are
        for index, said in enumerate(messages):
            if said["role"] == "tool":
                answered = next((call for call in pending if call[0] == said.get("tool_call_id")), None)
                if answered is None:
                    continue
                pending.remove(answered)
            pending += [(call["id"], index) for call in said.get("tool_calls", ())]
            sent.append(said)
        if not pending:
            return sent
        messages = messages[: min(index for _, index in pending)]  # which cuts results off, too: once more
