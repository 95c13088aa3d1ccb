"""The errors that a user can fix: one line that names the file, the key and the remedy, and an exit code."""


class UserError(Exception):
    """An error that the user can fix; the command prints its text on one line and exits with ``exit_code``."""

    exit_code = 1
    shared = False
    """Whether every process of a run raises it, so that one of them prints it for all."""


class UsageError(UserError):
    """Wrong usage or configuration: an unknown key, a value out of range, options that exclude each other."""

    exit_code = 2


class UnreachableError(UserError):
    """The network or a server fails now and may answer later, so the same command may succeed then."""


class DataError(UserError):
    """Missing, damaged or unexpected data."""

    exit_code = 3
