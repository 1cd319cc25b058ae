"""Keys stay in the environment: a config that would bring one into a run's records is refused.

What a run records (config.yaml, its command, W&B) is meant to be shown to others, and a config can read environment
variables (`${oc.env:NAME}`), also one that somebody else wrote.
"""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tlcl.errors import UserError

SECRET = re.compile(
    r"secret|passw(or)?d|passphrase|credential|token(?!iz)|(api|access|private|account|encryption|signing)_?key"
    r"|database_url|connection_?string|webhook|bearer|sshpass|(^|_)(keys?|pat|auth|dsn|jwt|cookie|pass)$|_pwd$",
    re.IGNORECASE,
)
READ = re.compile(r"\benv\s*:\s*['\"]?([A-Za-z_]\w*)")  # ${oc.env:NAME} and ${oc.env:NAME,default}
ADVICE = "would be written into the run's records; leave it out: what needs a key reads the environment itself"
SHORTEST = 8  # a shorter value could be in any text by chance


def looks_secret(name: str) -> bool:
    """Whether an environment variable of this name is likely to hold a key or a password."""
    return SECRET.search(name) is not None


def leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of everything in nested dicts and lists that is neither."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from leaves(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list | tuple):
        for number, value in enumerate(node):
            yield from leaves(value, f"{key}.{number}" if key else str(number))
    else:
        yield key, node


def refuse_reads(node: Any) -> None:
    """That no text in an unresolved config reads a variable whose name says that it is secret.

    Raises:
        UserError: one does.
    """
    for key, text in leaves(node):
        for name in READ.findall(f"{key} {text}") if "${" in f"{key}{text}" else ():
            if looks_secret(name):
                raise UserError(
                    f"{key} reads the environment variable {name}, which looks like a secret and {ADVICE}"
                )


def refuse_values(node: Any) -> None:
    """That no text in a resolved config, or on a command line, holds the value of a secret variable.

    Raises:
        UserError: one does; the sentence names the variable and never its value.
    """
    secret = {name: value for name, value in os.environ.items() if len(value) >= SHORTEST and looks_secret(name)}
    for key, text in leaves(node) if secret else ():
        for name, value in secret.items():
            if value in f"{key} {text}":
                where = "a key" if value in key else key
                raise UserError(
                    f"{where} holds the value of the environment variable {name}, which looks like a secret and "
                    f"{ADVICE}"
                )
