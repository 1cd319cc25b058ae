"""Execute the notebooks and write them with their outputs: `make notebooks`.

    python notebooks/render.py                    # all of them
    python notebooks/render.py 2_forgetting_and_cures

The scripts (`.py`, cells marked by `# %%`) are the source; each `.ipynb` is written anew from its script. They are
executed in an empty temporary folder, where runs go to `runs/`: so every path in the outputs is a relative one, and
nothing in them tells whose machine it was. What does so all the same stops the rendering.
"""

import argparse
import getpass
import os
import re
import socket
import sys
import tempfile
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from traitlets.config import Config

FOLDER = Path(__file__).parent
QUICK = "TLCL_NOTEBOOK_QUICK"  # set by the tests, which run everything on less
TIMEOUT = 600  # seconds a cell
# Absolute paths that a machine's own folders begin with; a relative path has a word before the slash.
MACHINE_PATH = re.compile(r"(?<![\w.:/])/(?:home|root|tmp|Users|var|work|mnt|opt|usr)/|\b[A-Z]:\\", re.ASCII)


def scripts() -> list[Path]:
    """The notebooks' scripts, in order."""
    return sorted(FOLDER.glob("[0-9]_*.py"))


def read_script(script: Path) -> NotebookNode:
    """The notebook of a script, without outputs; its cells are numbered, so that equal scripts give equal files."""
    notebook = jupytext.read(script)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
    return notebook


def execute(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """Run all cells in `folder`, in a kernel of this Python; the notebook gets their outputs.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell fails.
    """
    settings = folder / ".jupyter"  # the kernel's own files: nothing of the user's, nothing left behind
    environment = {
        **os.environ, "IPYTHONDIR": str(settings), "JUPYTER_RUNTIME_DIR": str(settings),
        "JUPYTER_CONFIG_DIR": str(settings),
    }  # fmt: skip
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        coalesce_streams=True,
        config=Config(KernelManager=Config(transport_encryption="auto")),
    )
    client.execute(env=environment)
    notebook.metadata.pop("language_info", None)  # it has the Python's version to the last digit
    return notebook


def output_texts(notebook: NotebookNode) -> list[str]:
    """Every text of every output, pictures aside."""
    texts = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            shown = {kind: text for kind, text in output.get("data", {}).items() if not kind.startswith("image/")}
            texts += [str(output.get("text", "")), *output.get("traceback", []), *map(str, shown.values())]
    return [text for text in texts if text]


def machine_traces(notebook: NotebookNode) -> list[str]:
    """Lines of outputs with an absolute path, or with this machine's or user's name."""
    lines = [line for text in output_texts(notebook) for line in text.splitlines()]
    names = [re.escape(name) for name in (socket.gethostname(), getpass.getuser()) if len(name) > 3]
    named = re.compile(rf"(?<!\w)(?:{'|'.join(names)})(?!\w)") if names else None
    return [line for line in lines if MACHINE_PATH.search(line) or (named and named.search(line))]


def render(script: Path) -> Path:
    """Execute one notebook and write its `.ipynb`; returns its path.

    Raises:
        SystemExit: its outputs tell whose machine it was.
    """
    os.environ.pop(QUICK, None)
    with tempfile.TemporaryDirectory() as folder:
        notebook = execute(read_script(script), Path(folder))
    traces = machine_traces(notebook)
    if traces:
        raise SystemExit(f"{script.name} prints what belongs to this machine: {traces[0]}")
    target = script.with_suffix(".ipynb")
    nbformat.write(notebook, target)
    return target


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="notebooks to render, as 1_layerwise_finetuning; none: all")
    names = parser.parse_args().names
    known = {script.stem: script for script in scripts()}
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.exit(f"there is no notebook {unknown[0]!r}; there are {', '.join(known)}")
    for name in names or known:
        started = time.perf_counter()
        target = render(known[name])
        print(f"{target}  {time.perf_counter() - started:.0f} s, {target.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
