"""Dialogues with questions about them, made of sentences of our own: what the weights of the ranking are fitted to.

Two people talk in sessions, about things that happened to one of them. A thing is asked for in other words than it was told
in, and often the answer stands behind a question of the other's and repeats none of its words: as in real conversations.
"""

from __future__ import annotations

import random
from typing import NamedTuple

NAMES = "Ann Ben Carla David Elena Felix Greta Hugo Iris Jonas Karin Leo Mona Nico Olga Pablo".split()
POOLS = {
    "place": "Lisbon Oslo Kyoto Vienna Quito Dublin Athens Cairo Bergen Porto Prague Lima Seville Tromsø Riga Malmö".split(),
    "food": "dumplings|lentil soup|grilled sardines|paella|pancakes|ramen|goulash|falafel|risotto|apple pie".split("|"),
    "animal": "a kitten|a greyhound|two parrots|an old donkey|a hamster|three hens|a tortoise|a spaniel".split("|"),
    "craft": "pottery|the cello|rock climbing|watercolours|fencing|beekeeping|salsa|carpentry|chess|rowing".split("|"),
    "kin": "sister|brother|grandmother|cousin|nephew|aunt|daughter|uncle".split("|"),
    "work": "a bakery|a law firm|the city museum|a start-up|a primary school|the hospital|a newspaper|a garden centre".split("|"),
    "thing": "a red bicycle|a second-hand piano|a tent|a camera|an electric kettle|a canoe|a sewing machine|a telescope".split(
        "|"
    ),
    "ache": "a sprained ankle|a migraine|a broken tooth|a bad cold|back pain|a burnt hand".split("|"),
    "book": "a novel about whales|a history of tea|poems by a sailor|a crime story|a book on mushrooms|a biography of a queen".split(
        "|"
    ),
    "time": "next spring|in two weeks|after the holidays|on my birthday|in October|before the summer".split("|"),
}
# (what the other asks first, or nothing; what is told; in how many ways it is asked for later)
THINGS = [
    (
        "How was your trip to {place}?",
        "Wonderful, I ate {food} every single day!",
        "What did {who} eat in {place}?|How often did {who} eat {food}?|Where did {who} travel to?",
    ),
    (
        "",
        "I finally adopted {animal} from the shelter.",
        "Which animal did {who} adopt?|Where did {who} get {animal} from?|What pets does {who} have?",
    ),
    (
        "What do you do in your free time?",
        "Mostly {craft}, I started a year ago.",
        "When did {who} start {craft}?|What does {who} do in the free time?|Which hobby does {who} have?",
    ),
    (
        "",
        "My {kin} is moving to {place} {time}.",
        "Where is {who}'s {kin} moving?|Who is moving to {place}?|When will {who}'s {kin} move away?",
    ),
    (
        "Any news about the job?",
        "Yes! {work} took me, I begin {time}.",
        "When does {who} begin to work at {work}?|Which job did {who} get?",
    ),
    (
        "",
        "I bought {thing} with the money I had saved.",
        "What did {who} buy with the savings?|How did {who} pay for {thing}?|What did {who} purchase?",
    ),
    (
        "You look tired, what happened?",
        "I have {ache}, it hurts since Sunday.",
        "Since when does {who} have {ache}?|Why did {who} look tired?",
    ),
    ("Are you reading anything?", "Yes, {book}. I can't put it down.", "How does {who} like {book}?|What is {who} reading?"),
    (
        "",
        "We celebrated the wedding of my {kin} in {place}.",
        "Whose wedding did {who} celebrate?|Where was the wedding of {who}'s {kin}?|What was celebrated in {place}?",
    ),
    ("Where did you grow up?", "In {place}, above {work}.", "Where did {who} grow up?|Who lived above {work}?"),
    (
        "",
        "The doctor told me to give up {food}, I am allergic.",
        "What must {who} not eat?|Why did {who} give up {food}?|Which allergy did the doctor find?",
    ),
    (
        "Did you sign up for the course?",
        "I did, {craft} it is, {time}.",
        "Which course did {who} sign up for?|When is {who}'s {craft} course?",
    ),
    (
        "",
        "My {kin} gave me {thing}, I was so happy.",
        "Who gave {who} {thing}?|What did {who} get from the {kin}?|Which present made {who} happy?",
    ),
    (
        "What are your plans?",
        "I want to volunteer at {work} {time}.",
        "Where does {who} want to volunteer?|When will {who} help at {work}?|What are {who}'s plans for {time}?",
    ),
    ("", "I prefer {food} to anything in a restaurant.", "What food does {who} prefer?|What does {who} think of {food}?"),
    ("How is your {kin}?", "Better, thanks. Still in bed with {ache}.", "How is {who}'s {kin}?|Who is in bed with {ache}?"),
    (
        "What did you do with {thing}?",
        "I sold it to a friend in {place}.",
        "To whom did {who} sell {thing}?|What did {who} sell?|What happened to {who}'s {thing}?",
    ),
    (
        "",
        "I ran into my old teacher near {work}, he plays {craft} now.",
        "Whom did {who} meet near {work}?|What does {who}'s old teacher do now?",
    ),
    (
        "How did the competition go?",
        "I came second in {craft}, and the prize was {thing}.",
        "Which prize did {who} win?|How did {who} do in the {craft} competition?",
    ),
    ("", "We are saving for a house near {place}.", "What is {who} saving for?|Where does {who} want a house?"),
]
SMALL_TALK = [
    "Hey {other}! How are you?|Good to hear from you, {other}!|Hi {other}, long time no see.",
    "That sounds great!|Wow, I am happy for you.|Oh no, I am sorry to hear that.|Really? Tell me more.",
    "What a nice idea, {other}.|I have always wanted to try that.|You must be proud.|That must have been hard.",
    "The weather is awful here, nothing but rain.|Work is busy as always.|The weekend was far too short.|I slept badly.",
    "Thanks, {other}, that means a lot.|You are right.|I will think about it.|Let us talk about it over coffee.",
    "Do you remember our holiday in {place}?|I saw a film about {place} yesterday.|People say {craft} is good for the back.",
    "My neighbour cooked {food} for the whole house.|Somebody left {thing} in front of my door.|They opened {work} in my street.",
    "Bye, {other}, see you soon!|Talk to you later!|Take care of yourself!",
]


_OTHER = 0.15  # of the questions name the one who was told: people are not always who a turn is about


class Turn(NamedTuple):
    """What somebody says in a session."""

    session: int
    speaker: str
    text: str


class Question(NamedTuple):
    """A question, and the turns that answer it."""

    text: str
    evidence: list[int]


class Dialogue(NamedTuple):
    """All that two people said to each other, and the questions about it."""

    turns: list[Turn]
    questions: list[Question]


def make(seed: int, sessions: int = 20) -> Dialogue:
    """A dialogue of so many sessions, always the same for a seed."""
    chance = random.Random(seed)
    pair = chance.sample(NAMES, 2)
    turns: list[Turn] = []
    questions: list[Question] = []

    def fill(text: str, **more: str) -> str:
        return text.format(**{name: chance.choice(pool) for name, pool in POOLS.items()} | more)

    def talk(session: int, count: int) -> None:
        for _ in range(count):
            speaker = pair[len(turns) % 2]
            text = chance.choice(chance.choice(SMALL_TALK).split("|"))
            turns.append(Turn(session, speaker, fill(text, other=pair[(len(turns) + 1) % 2])))

    for session in range(sessions):
        talk(session, chance.randrange(1, 4))
        for asked, told, later in chance.sample(THINGS, chance.randrange(2, 5)):
            drawn = {name: chance.choice(pool) for name, pool in POOLS.items()}
            if asked:
                turns.append(Turn(session, pair[len(turns) % 2], asked.format(**drawn)))
            who = pair[len(turns) % 2]
            evidence = [len(turns)]
            turns.append(Turn(session, who, told.format(**drawn)))
            if chance.random() < _OTHER:
                who = pair[len(turns) % 2]
            questions.append(Question(chance.choice(later.split("|")).format(who=who, **drawn), evidence))
            talk(session, chance.randrange(1, 4))
    return Dialogue(turns, questions)
