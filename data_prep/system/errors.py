"""The errors a user can mend: one line that names the file, the key and the remedy, and an exit code."""


class UserError(Exception):
    """A mistake the user can mend; the command prints its text on one line and exits with ``exit_code``."""

    exit_code = 1
    shared = False
    """Whether every process of a run knows it, so that one of them is to speak."""


class UsageError(UserError):
    """Wrong usage or configuration: an unknown key, a value out of range, a clash of options."""

    exit_code = 2


class UnreachableError(UserError):
    """A network or server that fails now and may answer later: the same command is worth another try."""


class DataError(UserError):
    """Missing, damaged or unexpected data."""

    exit_code = 3
