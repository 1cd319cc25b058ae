"""Names in CSV files: a spreadsheet takes a cell that begins with = + - or @ for a formula, and may run it.

Such a name gets an apostrophe before it, as OWASP advises (CSV injection), unless it is a number: a class `-1` is
written as it is, as are figures and all other names. `from_cell` gives the name back.
"""

import re
from typing import Any

FORMULA = re.compile(r"'*[=+\-@\t\r]")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def to_cell(value: Any) -> Any:
    """The value for a CSV file; what is not a text is left as it is."""
    if not isinstance(value, str) or NUMBER.fullmatch(value) or not FORMULA.match(value):
        return value
    return f"'{value}"


def from_cell(text: str) -> str:
    """The name that `to_cell` made the cell of."""
    return text[1:] if text.startswith("'") and FORMULA.match(text) else text
