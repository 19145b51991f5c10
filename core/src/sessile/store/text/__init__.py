"""Searching in what was said: what a word is, and what a search asks for."""
