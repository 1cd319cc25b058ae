"""KEY=VALUE as it is typed: quoted for Hydra's grammar, and for the shell."""

import re
import shlex

# What neither Hydra nor a shell reads in another way: a path with a slash, or a word that is no number or constant.
PLAIN = re.compile(r"(?!(?:null|true|false|nan|inf)$)(?:[A-Za-z]|(?=.*/)[\w./])[\w./-]*", re.ASCII | re.IGNORECASE)


def as_text(text: str) -> str:
    """Any text as a value of Hydra's grammar."""
    inside = re.sub(r'(\\*)"', r'\1\1\\"', text)  # a backslash is one, unless a quote follows
    inside = re.sub(r"(\\+)$", r"\1\1", inside)
    return f'"{inside}"'


def quoted(key: str, text: str) -> str:
    """KEY=TEXT as Hydra takes any text."""
    return f"{key}={as_text(text)}"


def typed(key: str, text: object) -> str:
    """KEY=TEXT as it is typed in a shell: quoted for Hydra and for the shell where either needs it."""
    return f"{key}={text}" if PLAIN.fullmatch(str(text)) else shlex.quote(quoted(key, str(text)))
