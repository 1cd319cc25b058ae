"""The name by which a program was called."""

import pytest

from tests.conftest import ROOT
from tlcl.system.command import called


@pytest.mark.parametrize(
    ("first", "name"),
    [
        ("/usr/bin/tlcl train", "tlcl train"),
        ("/usr/bin/tlcl-train", "tlcl-train"),
        ("Scripts/tlcl-train.exe", "tlcl-train"),
        (str(ROOT / "tlcl" / "train.py"), "python -m tlcl.train"),
        (str(ROOT / "tlcl" / "commands" / "predict.py"), "python -m tlcl.commands.predict"),
        (str(ROOT / "tlcl" / "__main__.py"), "python -m tlcl"),
        ("python -m tlcl predict", "python -m tlcl predict"),
    ],
)
def test_the_name_it_was_called_by(first: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [first])
    assert called() == name
