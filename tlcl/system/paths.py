"""Paths as a user writes them."""

from pathlib import Path

from tlcl.errors import UserError


def expanded(text: str, key: str) -> Path:
    """The path, `~` and `~name` replaced by home directories.

    Raises:
        UserError: there is no such home directory, or no path; the sentence names `key`.
    """
    if not text.strip():
        raise UserError(f"{key} is empty; give a path, or . for the working directory")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UserError(f"{key}={text[:80]}: {str(error).rstrip('.')}") from None
