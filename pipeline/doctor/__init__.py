"""What would make a run fail on this machine, found before it does."""
