"""A command in this process, as a user would call it."""

from collections.abc import Callable

import pytest


def call_command(
    main: Callable[[], None],
    program: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *arguments: object,
) -> tuple[int, str, str]:
    """(exit code, standard output, standard error)."""
    monkeypatch.setattr("sys.argv", [program, *map(str, arguments)])
    try:
        main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err
