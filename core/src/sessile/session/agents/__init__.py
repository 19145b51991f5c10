"""Agents: who speaks in sessions."""
