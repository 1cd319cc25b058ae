"""Names and values as they are shown: they come from folders, files and other people's runs."""


def shown(value: object) -> str:
    """As Python writes it, in at most 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def plain(text: object) -> str:
    """What any file and picture can hold: bytes of a file's name that are no UTF-8 are written as `\\udcff`."""
    return str(text).encode("utf-8", "backslashreplace").decode()
