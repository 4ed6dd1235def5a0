"""The error whose message a user can act on."""

from pathlib import Path


class UserError(Exception):
    """A fault that the user can repair: the message says what is wrong, where, and what to do."""


def damaged(path: Path | str, fault: object) -> UserError:
    """The error for a stage's output that cannot be read; it says how to make the file again."""
    return UserError(f"{path} is damaged ({fault}); delete it, and `dvc repro` makes it again")
