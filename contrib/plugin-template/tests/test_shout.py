"""What the plugin does, seen from a session."""

from sessile_shout import plugin
from sessile_shout.parrot import Parrot

from sessile import Agent, Session


def test_it_shouts():
    session = Session("s", store="memory://", plugins=[plugin], agent=Agent(model=Parrot()))
    assert session.chat("hello") == "hello hello!"
