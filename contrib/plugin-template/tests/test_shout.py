"""What the plugin does, seen from a session, and what sessile asks of every plugin."""

import pytest
from sessile_shout import plugin as shout
from sessile_shout.parrot import Parrot

from sessile import Agent, Session
from sessile.testing import PluginConformance


def test_it_shouts():
    session = Session("s", store="memory://", plugins=[shout], agent=Agent(model=Parrot()), strict=True)
    assert session.chat("hello") == "hello hello!"


class TestShout(PluginConformance):
    @pytest.fixture
    def plugin(self):
        return shout
