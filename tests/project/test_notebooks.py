"""The notebooks: in step with their scripts, whole, small, of nobody's machine; and they run."""

import socket
from pathlib import Path

import jupytext
import nbformat
import pytest
from jupytext.compare import compare_notebooks
from nbformat import NotebookNode

from notebooks import render
from tlcl.config.compose import composed_config
from tlcl.config.parse import parse_config
from tlcl.config.schema import Config
from tlcl.data.sources.letters import LettersConfig
from tlcl.jobs.finetune import run as finetune
from tlcl.jobs.pretrain import pretrained_on_letters
from tlcl.tracking.records import RunDirectory

SCRIPTS = render.scripts()
every = pytest.mark.parametrize("script", SCRIPTS, ids=[script.stem for script in SCRIPTS])


def committed(script: Path) -> NotebookNode:
    return nbformat.read(script.with_suffix(".ipynb"), as_version=4)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def complaints(cells: list[NotebookNode]) -> list[str]:
    """Lines on standard error, but for the warning that notebook 4 provokes."""
    texts = [output.text for cell in cells for output in cell.outputs if output.get("name") == "stderr"]
    return [line for text in texts for line in text.splitlines() if line != "left out 1 unreadable file of shapes"]


def test_there_are_four_in_pairs() -> None:
    assert [script.stem[0] for script in SCRIPTS] == ["1", "2", "3", "4"]
    assert sorted(render.FOLDER.glob("*.ipynb")) == [script.with_suffix(".ipynb") for script in SCRIPTS]


@every
def test_the_pair_is_in_step(script: Path) -> None:
    ours, theirs = committed(script), jupytext.read(script)
    compare_notebooks(ours, theirs, fmt="py:percent")
    assert [cell.source for cell in ours.cells] == [cell.source for cell in theirs.cells]


@every
def test_what_is_committed_was_run_from_start_to_end(script: Path) -> None:
    notebook = committed(script)
    nbformat.validate(notebook)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert not complaints(cells)
    pictures = [kind for output in outputs for kind in output.get("data", {}) if kind.startswith("image/")]
    assert len(pictures) >= 4
    assert not render.machine_traces(notebook)
    assert script.with_suffix(".ipynb").stat().st_size < 2**20


@every
def test_links_between_notebooks_lead_somewhere(script: Path) -> None:
    text = script.read_text()
    assert text.startswith("# ---\n# jupyter:\n#   jupytext:\n#     formats: ipynb,py:percent\n")
    named = [part.split(")")[0] for part in text.split("](")[1:]]
    assert all((render.FOLDER / name).is_file() for name in named if name.endswith(".ipynb"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with a backbone that has seen few letters: the real one takes minutes."""
    folder = tmp_path_factory.mktemp("cache")
    config = parse_config(composed_config(["logger=none"]))
    config.cache_dir = str(folder)

    def briefly(recipe: Config, directory: RunDirectory) -> None:
        assert isinstance(recipe.data, LettersConfig)
        recipe.data.images_per_class, recipe.data.val_size, recipe.trainer.epochs = 8, 26, 1
        finetune(recipe, directory)

    pretrained_on_letters(config, briefly)
    return folder


@every
@pytest.mark.slow
def test_it_runs(script: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLCL_CACHE", str(cache))
    monkeypatch.setenv(render.QUICK, "1")
    notebook = render.execute(render.read_script(script), tmp_path)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not complaints(cells)
    # What it shows does not tell where it was run.
    shown = "\n".join(render.output_texts(notebook))
    assert str(tmp_path) not in shown
    assert str(cache) not in shown


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("saved in /home/ada/runs/x", True),
        ("'/tmp/tmpab12/runs'", True),
        (r"C:\Users\ada", True),
        ("on lab-server: done", True),
        ("on slab-servers: done", False),
        ("report: runs/tried/2026/report.html", False),
        ("see docs/home/page and https://example.org/home/x", False),
        ("a share of 3/4, work/rest", False),
    ],
)
def test_traces_of_a_machine(line: str, found: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "lab-server")
    output = nbformat.v4.new_output("stream", name="stdout", text=f"first\n{line}\n")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("print()", outputs=[output])])
    assert render.machine_traces(notebook) == ([line] if found else [])
    assert render.output_texts(notebook) == [f"first\n{line}\n"]


def test_rendering_is_of_the_whole_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs arrive, errors stop it, cells get names that do not change, the short run is not asked for."""
    monkeypatch.setenv(render.QUICK, "1")
    script = tmp_path / "9_tried.py"
    script.write_text("# %% [markdown]\n# # Tried\n\n# %%\nimport os\nprint('TLCL_NOTEBOOK_QUICK' in os.environ)\n")
    first = render.render(script).read_text()
    assert nbformat.reads(first, as_version=4).cells[1].outputs[0].text == "False\n"
    assert render.render(script).read_text() == first
    script.write_text("# %%\nimport os\n\nprint(os.getcwd())\n")
    with pytest.raises(SystemExit, match="belongs to this machine"):
        render.render(script)
    assert script.with_suffix(".ipynb").read_text() == first
