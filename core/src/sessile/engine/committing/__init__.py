"""What is committed to a store, and taken out of it: the tip of a session, who inherits from a log, deletion."""
