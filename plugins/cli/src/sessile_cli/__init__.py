"""The command line of sessile."""
