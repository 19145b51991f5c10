"""A session as a graph: snapshots, reverts, forks, edits, merges, verification."""
