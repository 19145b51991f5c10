"""What is said: messages, tools, turns, the model protocol, and what of the past a model is sent. All pure."""
