"""The GPU suite: what a CPU cannot show, tested and measured in pieces that a later call goes on with."""
