"""The prompt style of a very small model: for a question, the few things the user said that bear on it.

At 135M parameters the model does not find an answer in a plain history, but it does in `Notes: … Question: …` after a
few worked examples of that form. Which notes: those that share the question's words, by BM25's idea of rare words
counting more (Robertson and Zaragoza, 2009), with a handful of synonyms for what people ask of themselves.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from sessile import Message

EXAMPLES = (
    ("My name is Bob and I like soup. I have two sons. I drive a red car.", "What's my name?", "Your name is Bob."),
    ("My cat is called Tom. I live in Oslo. I like tea.", "What is my cat called?", "Your cat is called Tom."),
    ("I work as a nurse in Rome. My brother is Paul.", "Where do I work?", "You work in Rome."),
)
MOST = 3  # notes

_QUESTION = re.compile(
    r"^(and |so |but |please )?(what|who|whom|whose|where|when|which|why|how|do|does|did|is|are|am|can|could|tell me|remind me)\b"
    r"|\?\s*$",
    re.IGNORECASE,
)
_SELF = re.compile(r"\b(i|me|my|mine|we|our|us)\b", re.IGNORECASE)
_NAME = re.compile(r"\bmy name\b|\bi am called\b|\bi'm called\b|\bcall me\b|\bwho am i\b", re.IGNORECASE)
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_WORD = re.compile(r"[a-z0-9]+")
_EMPTY = frozenset(
    "a about am an and are as at be been but by can could did do does for from had has have how i in is it its me mine my of "
    "on or our ours please remember remind s so tell that the this to us was we were what when where which who whose why "
    "will with would you your".split()
)
_SAME = {
    **dict.fromkeys(("favourite", "favorite", "prefer", "love", "like", "best", "enjoy", "preferred"), "like"),
    **dict.fromkeys(("job", "work", "working", "profession", "employer"), "work"),
    **dict.fromkeys(("name", "called", "names"), "name"),
    **dict.fromkeys(("colour", "color"), "colour"),
    **dict.fromkeys(("live", "home", "living"), "live"),
}


def is_question(text: str) -> bool:
    """Does the text ask something?"""
    return bool(_QUESTION.search(text.strip()))


def choose(messages: Sequence[Message], question: str) -> list[str]:
    """The sentences of the user's that bear on the question, best first; none where it is not about them."""
    notes = _statements(messages)
    wanted = _words(question)
    words = [_words(note) for note in notes]
    weight = {word: math.log(1 + len(notes) / (1 + sum(word in w for w in words))) for word in wanted}
    scores = [sum(weight[word] for word in wanted & w) for w in words]
    best = max(scores, default=0.0)
    if not best:
        return notes[-MOST:][::-1] if _SELF.search(question) else []
    ranked = sorted(range(len(notes)), key=lambda i: (-scores[i], -i))
    covered = len(wanted & words[ranked[0]]) / len(wanted)
    if covered >= 0.5:
        return [notes[ranked[0]]]
    return [notes[i] for i in ranked[:MOST] if scores[i] >= best / 2]


def prompt(notes: Iterable[str], question: str) -> list[dict[str, str]]:
    """The messages for the model: the worked examples, then the notes and the question."""
    asked = [*((n, q, a) for n, q, a in EXAMPLES), (" ".join(map(_ended, notes)), question, "")]
    messages = []
    for notes_text, question_text, answer in asked:
        messages.append({"role": "user", "content": f"Notes: {notes_text} Question: {question_text}"})
        messages.append({"role": "assistant", "content": answer})
    return messages[:-1]


def _statements(messages: Sequence[Message]) -> list[str]:
    said = [message.text for message in messages if message.role == "user"]
    sentences = (sentence.strip() for text in said for sentence in _SENTENCE.split(text))
    return [sentence for sentence in sentences if sentence and not is_question(sentence)]


def _words(text: str) -> set[str]:
    found = (_SAME.get(word, word) for word in _WORD.findall(text.lower()) if word not in _EMPTY)
    own_name = {"*own name*"} if _NAME.search(text) else set()
    return own_name | {word[:-1] if len(word) > 3 and word.endswith("s") else word for word in found}


def _ended(sentence: str) -> str:
    return sentence if sentence[-1:] in ".!?" else f"{sentence}."
