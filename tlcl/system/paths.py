"""Paths as a user writes them."""

from pathlib import Path

from tlcl.errors import UserError


def expanded(text: str, key: str) -> Path:
    """The path, `~` and `~name` replaced by home directories.

    Raises:
        UserError: there is no such home directory; the sentence names `key`.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UserError(f"{key}={text[:80]}: {str(error).rstrip('.')}") from None
