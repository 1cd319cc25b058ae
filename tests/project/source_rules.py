"""Calls that can run code hidden in data, found in Python source by its syntax tree."""

import ast
from collections.abc import Iterator

UNPICKLES = {
    "pickle.load", "pickle.loads", "pickle.Unpickler", "cPickle.load", "cPickle.loads", "_pickle.load",
    "_pickle.loads", "dill.load", "dill.loads", "cloudpickle.load", "cloudpickle.loads", "marshal.load",
    "marshal.loads", "shelve.open", "joblib.load", "torch.hub.load", "torch.package.PackageImporter",
    "pandas.read_pickle", "numpy.core.records.load",
}  # fmt: skip
YAML = {f"yaml.{kind}{many}" for kind in ("load", "unsafe_load", "full_load") for many in ("", "_all")}
SAFE_LOADERS = {"yaml.SafeLoader", "yaml.CSafeLoader"}
COMMANDS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}
RUNS_TEXT = {"eval", "exec", "builtins.eval", "builtins.exec", "compile", "builtins.compile"}


def _names(tree: ast.AST) -> dict[str, str]:
    """Local name -> the dotted name it was imported as."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname:
                    found[alias.asname] = alias.name
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                found[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return {**found, "np": "numpy", **{name: full for name, full in found.items() if name == "np"}}


def _dotted(node: ast.AST, names: dict[str, str]) -> str:
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, names)}.{node.attr}"
    return ""


def _keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((item.value for item in call.keywords if item.arg == name), None)


def _is(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def _problem(call: ast.Call, names: dict[str, str]) -> str | None:
    name = _dotted(call.func, names)
    last = name.rpartition(".")[2] or (call.func.attr if isinstance(call.func, ast.Attribute) else "")
    spread = any(item.arg is None for item in call.keywords)  # **options could be anything
    if name == "torch.load" and not _is(_keyword(call, "weights_only"), True):
        return "torch.load without weights_only=True"
    if name == "numpy.load" and (
        spread or not (_keyword(call, "allow_pickle") is None or _is(_keyword(call, "allow_pickle"), False))
    ):
        return "numpy.load that may unpickle"
    if name in UNPICKLES:
        return f"{name} runs what the file says"
    if name in YAML:
        loader = _keyword(call, "Loader") or (call.args[1] if len(call.args) > 1 else None)
        if loader is None or _dotted(loader, names) not in SAFE_LOADERS:
            return f"{name} without a safe loader"
    if name in RUNS_TEXT:
        return f"{name} runs a text"
    if name in COMMANDS:
        return f"{name} runs a shell"
    if _keyword(call, "shell") is not None and not _is(_keyword(call, "shell"), False):
        return "shell=True runs a shell"
    fetches = last in ("get_state_dict", "load_state_dict_from_url")
    if fetches and not all(_is(_keyword(call, key), True) for key in ("check_hash", "weights_only")):
        return f"{last} without check_hash=True and weights_only=True"
    opens = last == "load_from_checkpoint" or _keyword(call, "ckpt_path") is not None
    if opens and not _is(_keyword(call, "weights_only"), True):
        return f"Lightning's {last} without weights_only=True"
    if last in ("extractall", "extract") and not (_keyword(call, "filter") is not None or "zip" in name.lower()):
        return f"{last} without filter= writes where the archive says"
    return None


def dangers(source: str) -> Iterator[tuple[int, str]]:
    """(line, what is wrong) of each dangerous call, and of each function of theirs that is passed on uncalled."""
    tree = ast.parse(source)
    names = _names(tree)
    called = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called.add(id(node.func))
            problem = _problem(node, names)
            if problem:
                yield node.lineno, problem
    for node in ast.walk(tree):
        if (
            id(node) in called
            or not isinstance(node, ast.Name | ast.Attribute)
            or not isinstance(node.ctx, ast.Load)
        ):
            continue
        name = _dotted(node, names)
        if name in UNPICKLES | YAML | COMMANDS | RUNS_TEXT | {"torch.load", "numpy.load"}:
            yield node.lineno, f"{name} is passed on, so that its arguments cannot be seen"
