"""One session in one store: the commit loop, history, state, turns, deletion."""
