"""How one engine is driven, blocking or awaiting: the faces, the background loop, threads, locks, checked arguments."""
