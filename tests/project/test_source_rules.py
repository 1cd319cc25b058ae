"""No file of the project runs code that is hidden in data; the rules that say so find what they should."""

import ast
import json
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.project.source_rules import dangers

FOLDERS = ("tlcl", "benchmarks", "torture", "docs", "notebooks")
SHIPPED = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
NOTEBOOKS = sorted((ROOT / "notebooks").rglob("*.ipynb"))
# The one place that runs a file: only one that the user has named himself; see its docstring.
REVIEWED = {"tlcl/extensions.py": ["exec runs a text", "compile runs a text"]}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", SHIPPED, ids=name)
def test_nothing_runs_code_from_data(path: Path) -> None:
    found = list(dangers(path.read_text()))
    assert sorted(what for _, what in found) == sorted(REVIEWED.get(name(path), [])), found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_no_notebook_does_either(path: Path) -> None:
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    for cell in cells:
        lines = "".join(cell["source"]).splitlines()
        code = "\n".join("pass" if line.lstrip().startswith(("%", "!")) else line for line in lines)
        assert not list(dangers(code)), code


def test_code_was_looked_at() -> None:
    assert len(SHIPPED) > 90
    assert any(path.name == "safe_load.py" and "torch.load" in path.read_text() for path in SHIPPED)


@pytest.mark.parametrize(
    "code",
    [
        "import torch\ntorch.load(p)",
        "import torch\ntorch.load(p, weights_only=False)",
        "import torch\ntorch.load(p, weights_only=flag)",
        "import torch as t\nt.load(p)",
        "from torch import load\nload(p)",
        "from torch import load as read\nread(p, map_location='cpu')",
        "import torch\nmap(torch.load, paths)",
        "import functools, torch\nfunctools.partial(torch.load, weights_only=True)",
        "import pickle\npickle.load(f)",
        "import pickle\npickle.loads(b)",
        "import pickle as p\np.Unpickler(f).load()",
        "from pickle import loads\nloads(b)",
        "import numpy as np\nnp.load(p, allow_pickle=True)",
        "import numpy\nnumpy.load(p, allow_pickle=maybe)",
        "import numpy as np\nnp.load(p, **options)",
        "import joblib\njoblib.load(p)",
        "from joblib import load\nload(p)",
        "import yaml\nyaml.load(text)",
        "import yaml\nyaml.load(text, Loader=yaml.Loader)",
        "import yaml\nyaml.load(text, yaml.UnsafeLoader)",
        "import yaml\nyaml.unsafe_load(text)",
        "from yaml import load, FullLoader\nload(text, Loader=FullLoader)",
        "eval(text)",
        "exec(text)",
        "run = eval\nrun(text)",
        "import subprocess\nsubprocess.run(command, shell=True)",
        "from subprocess import check_output\ncheck_output(command, shell=wanted)",
        "import os\nos.system(command)",
        "from os import popen\npopen(command)",
        "import tarfile\ntarfile.open(p).extractall(d)",
        "import tarfile\nwith tarfile.open(p) as archive:\n    archive.extract(member)",
        "import torch\ntorch.hub.load('someone/repo', 'net')",
        "trainer.fit(module, ckpt_path=path)",
        "Module.load_from_checkpoint(path, weights_only=False)",
        "weights.get_state_dict(check_hash=True)",
        "load_state_dict_from_url(url, weights_only=True)",
        "import pandas as pd\npd.read_pickle(p)",
        "def inside():\n    class Deep:\n        value = lambda p: __import__('x') or eval(p)",
    ],
)
def test_the_rules_find(code: str) -> None:
    ast.parse(code)
    assert list(dangers(code))


@pytest.mark.parametrize(
    "code",
    [
        "import torch\ntorch.load(p, map_location='cpu', weights_only=True)",
        "import numpy as np\nnp.load(p)\nnp.load(p, allow_pickle=False)",
        "import yaml\nyaml.safe_load(text)\nyaml.load(text, Loader=yaml.SafeLoader)",
        "import subprocess\nsubprocess.run(['git', 'status'], shell=False)",
        "net.eval()\nmodel.load(p)\nOmegaConf.load(p)\njson.loads(t)\ncompiled = torch.compile(net)",
        "trainer.fit(module, ckpt_path=path, weights_only=True)",
        "weights.get_state_dict(check_hash=True, weights_only=True)",
        "import tarfile\ntarfile.open(p).extractall(d, filter='data')",
        "import pickle\ntry:\n    pass\nexcept pickle.UnpicklingError:\n    pass",
    ],
)
def test_the_rules_leave_alone(code: str) -> None:
    assert not list(dangers(code))
