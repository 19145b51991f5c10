"""Sessions as files, and stores into stores."""
