"""Mistakes, each of which both type checkers find: on every line that says so, and on no other."""

from __future__ import annotations

from sessile import Agent, AsyncAgent, AsyncSession, AsyncSessionManager, Request, Session, SessionManager
from sessile import Sesion  # wrong: a misspelt name
from sessile.errors import Conflit  # wrong: a misspelt name
from sessile.models import Modle  # wrong: a misspelt name
from sessile.plugins import hookimp  # wrong: a misspelt name
from sessile.session import get_default_store  # wrong: a misspelt name
from sessile.sessions import RediSessionStore  # wrong: a misspelt name
from sessile.store import Quary  # wrong: a misspelt name
from sessile.testing import ScriptedModels  # wrong: a misspelt name
from sessile_openai import OpenAiModel  # wrong: a misspelt name
from sessile_sqlite import SQLiteStore  # wrong: a misspelt name


class Asks:
    def generate(self, prompt: str) -> str:
        return prompt


class Counts:
    def generate(self, request: Request) -> int:
        return 1


def alone(turn: object) -> str:
    return "x"


session = Session("s", agnet=None)  # wrong: a misspelt keyword
Session("s", on_conflict="rebas")  # wrong: no policy
Session("s", store=5)  # wrong: no store
Session("s", middleware=[alone])  # wrong: no middleware
Session("s", agent="A")  # wrong: no agent
session.add_message("usr", "x")  # wrong: no role
session.add_mesage("user", "x")  # wrong: a misspelt method
session.messages = []  # wrong: it cannot be set
session.title = 5  # wrong: no title
print(session.messages[0].contnt)  # wrong: a misspelt field
session.messages[0].content.upper()  # wrong: it may be a list
session.get_history("5")  # wrong: no number
session.chat("x", agnt=None)  # wrong: a misspelt keyword
session.chat()  # wrong: nothing is said
session.set_state("k", 1, policy="their")  # wrong: no policy
session.fork(sesion_id="x")  # wrong: a misspelt keyword
session.to_openai(api="completions")  # wrong: no api
session.stream("x").append("y")  # wrong: no list
session.messages[0].tool_calls[0]["argument"]  # wrong: a misspelt key
session.Agent("A", modle="echo")  # wrong: a misspelt keyword
Session.load("x", stroe="memory://")  # wrong: a misspelt keyword
Agent(model=Asks())  # wrong: no model
Agent(model=Counts())  # wrong: no answer
Agent(tools=5)  # wrong: no tools
Agent(session=AsyncSession("s"))  # wrong: a session of the other face
Agent(session=SessionManager())  # wrong: no session
AsyncAgent(session=Session("s"))  # wrong: a session of the other face
Session("s", agent=Agent()).agent.chatt("x")  # wrong: a misspelt method
session.messages[0]["role"] = "user"  # wrong: a message is read-only
Agent(memory=None).strat("x")  # wrong: a misspelt method
len(Agent().stream("x"))  # wrong: no list
SessionManager().list(usr="x")  # wrong: a misspelt keyword
SessionManager().get_session("s").chat("x")  # wrong: it may be None
SessionManager().create_session("u", agnet=None)  # wrong: a misspelt keyword
SessionManager().delete(5)  # wrong: no id
SessionManager().list(before="yesterday")  # wrong: no moment


async def main() -> None:
    session = AsyncSession("s")
    session.add_message("user", "x")  # wrong: a forgotten await
    len(session.messages)  # wrong: a forgotten await
    session.messages[0]  # wrong: a forgotten await
    session.title = "x"  # wrong: it is set by set_title
    session.chat("x").upper()  # wrong: a forgotten await
    for _ in session.stream("x"):  # wrong: a forgotten async
        pass
    with session:  # wrong: a forgotten async
        pass
    (await session.fork()).snapshot()  # wrong: a forgotten await
    manager = AsyncSessionManager()
    manager.create_session("u")  # wrong: a forgotten await
    for _ in manager.each():  # wrong: a forgotten async
        pass
    async with Agent("A"):  # wrong: a blocking agent
        pass
    AsyncAgent("A").chat("x")  # wrong: a forgotten await
    session.Agent("A").start("x")  # wrong: a forgotten await
    await session.chat("x", metdata={})  # wrong: a misspelt keyword
