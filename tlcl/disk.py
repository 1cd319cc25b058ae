"""What the disk refuses, as one sentence that says what to do."""

import errno

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
REFUSED = {errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE}


def disk_sentence(error: OSError) -> str | None:
    """Which file the disk refuses, and why; None for an error of another kind."""
    file = error.filename or "a file"
    if error.errno in FULL:
        return f"{file} cannot be written: {error.strerror}; make room"
    if error.errno in REFUSED:
        return f"{file} cannot be read or written: {error.strerror}; put that right"
    return None
