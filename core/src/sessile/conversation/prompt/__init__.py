"""What of a conversation a model is sent: its past as turns, and the prompt that is made of these."""
