"""Records as somebody else may have made them: read as what they say, or refused in one sentence."""

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.conftest import composed, refusal
from tlcl.config.parse import parse_config
from tlcl.data.sources.few_label_splits import FewLabelSplitsConfig, find_splits, load_split
from tlcl.errors import UserError, printable, run_cli
from tlcl.reports.report import report
from tlcl.security.secrets import looks_secret
from tlcl.security.untrusted import Labels, read_yaml, recorded_config, recorded_labels
from tlcl.sweeps.compare import run_name
from tlcl.tracking.finished_run import read_run
from tlcl.tracking.records import RunDirectory

TEXTS = st.sampled_from(["", "a", "é", "\ud800", "<b>", "=1", "complete", "0", "1e999"])
LEAVES = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([2**70, 0.5, float("nan"), 1e300]) | TEXTS
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged") / "file"


# --- what a run records


@given(st.fixed_dictionaries({}, optional={"classes": JSON, "size": JSON, "channels": JSON, "more": JSON}) | JSON)
@example({"classes": ["a"], "size": 8, "channels": 3})
@example({"classes": ["a"], "size": 10**9, "channels": 3})
@example({"classes": ["a"], "size": True, "channels": True})
def test_labels(file: Path, content: Any) -> None:
    (file.parent / "labels.json").write_text(json.dumps(content))
    if refusal(lambda: recorded_labels(file.parent)) is None:
        labels = recorded_labels(file.parent)
        assert labels == Labels(tuple(map(str, content["classes"])), content["size"], content["channels"])
        assert labels.classes
        assert 0 < labels.size < 8192
        assert labels.channels in (1, 3)


def test_a_small_file_does_not_stand_for_a_huge_config(tmp_path: Path) -> None:
    """Aliases of aliases: 9 lines for 9^9 items."""
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    (tmp_path / "config.yaml").write_text("\n".join(lines))
    for read in (lambda: read_yaml(tmp_path / "config.yaml"), lambda: recorded_config(tmp_path)):
        assert "aliases" in str(refusal(read))
    assert read_run(tmp_path) is None
    (tmp_path / "config.yaml").write_text("a: " + "[" * 1100)
    assert "damaged" in str(refusal(lambda: recorded_config(tmp_path)))


@pytest.mark.parametrize("name", ["metrics.jsonl", "config.yaml", "plots/curves.png", "checkpoints/last.ckpt"])
def test_a_link_out_of_a_run_is_neither_read_nor_written(name: str, tmp_path: Path) -> None:
    secret, run = tmp_path / "private", tmp_path / "run"
    secret.write_text("name: private\n")
    (run / "plots").mkdir(parents=True)
    (run / "checkpoints").mkdir()
    (run / "wandb").mkdir()
    (run / "wandb" / "debug.log").symlink_to(secret)  # W&B's own
    for record in ("config.yaml", "environment.json"):
        (run / record).write_text("{}")
    (run / "inside.json").symlink_to("environment.json")
    recorded_config(run)
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(secret)
    for read in (lambda: recorded_config(run), lambda: report(run)):
        assert f"{name} is a link that leads out" in str(refusal(read))
    assert secret.read_text() == "name: private\n"


SUMMARY = ["status", "name", "job", "test_acc", "test_size", "selected", "epochs", "weights", "stopped"]
FEW = settings(max_examples=max(15, settings().max_examples // 4))  # each draws pictures


@FEW
@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(SUMMARY, JSON)) | JSON,
    st.lists(
        st.fixed_dictionaries({}, optional=dict.fromkeys(("epoch", "val/acc", "trainable"), JSON)), max_size=2
    ),
    JSON,
)
@example({"selected": {"val_acc": "high", "epoch": None}}, [], {"versions": [1]})
@example({"selected": 1, "weights": "x", "name": "<script>alert(1)</script>"}, [{"epoch": 0}], {})
def test_a_report_of_any_records_is_a_page_or_a_sentence(
    tmp_path: Path, summary: Any, metrics: list[Any], environment: Any
) -> None:
    (tmp_path / "config.yaml").write_text("name: x\n")
    (tmp_path / "environment.json").write_text(json.dumps(environment))
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    (tmp_path / "labels.json").write_text(json.dumps(environment))
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics))
    if refusal(lambda: report(tmp_path)) is None:
        assert "<script>" not in (tmp_path / "report.html").read_text()


@FEW
@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(("jobs", "planned", "command", "overrides", "keys"), JSON)),
    st.fixed_dictionaries({}, optional=dict.fromkeys(("number", "overrides"), JSON)) | JSON,
)
@example({}, {"number": 0})
@example({"jobs": [1], "planned": "many"}, {"number": "a", "overrides": [3]})
def test_nor_is_a_sweeps(tmp_path: Path, plan: Any, job: Any) -> None:
    (tmp_path / "0").mkdir(exist_ok=True)
    (tmp_path / "sweep.json").write_text(json.dumps(plan))
    (tmp_path / "0" / "job.json").write_text(json.dumps(job))
    refusal(lambda: report(tmp_path))


@given(st.text(max_size=60))
@example("dann block=../../../../evil")
@example("er a=%2F")
@example("..")
def test_a_method_of_a_comparison_names_one_folder(text: str) -> None:
    """A recorded config's `compare.methods` cannot have a run written elsewhere."""
    name = run_name(text, 0)
    assert "/" not in name
    assert name not in ("", ".", "..")
    assert run_name("er buffer_size=500", 1) == "er_buffer_size=500_seed1"
    others = {text.replace("/", "_"), text.replace("/", "%2F"), text.replace("%", "_")} - {text}
    same = {other for other in others if "_".join(other.split()) == "_".join(text.split())}
    assert name not in {run_name(other, 0) for other in others - same}


@given(st.text(st.characters(codec=None), max_size=40))
@example("\x1b]0;title\x07\n\u202e\udcff")
def test_an_error_is_one_line_that_steers_no_terminal(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert text.isprintable() == (shown == text) or "\\" in text
    shown.encode()


def test_so_it_reaches_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    def program() -> None:
        raise UserError("the class 'a\n\x1b[31mb' has no image")

    with pytest.raises(SystemExit):
        run_cli(program)
    assert capsys.readouterr().err == "error: the class 'a\\n\\x1b[31mb' has no image\n"


def test_names_without_utf8_are_recorded(tmp_path: Path) -> None:
    config = composed(tmp_path, "trainer.epochs=1")
    config.data.source, config.name = "digits", "a\udcff"
    directory = RunDirectory(tmp_path / "run", resume=False)
    directory.begin(parse_config(config))
    directory.close()
    assert recorded_config(tmp_path / "run").name == "a\udcff"


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("MYSQL_PWD", True), ("SSHPASS", True), ("AZURE_STORAGE_CONNECTION_STRING", True), ("A_WEBHOOK_URL", True),
        ("API_KEYS", True), ("SESSION_COOKIE", True), ("MY_JWT", True), ("DB_PASS", True), ("PWD", False),
        ("OLDPWD", False), ("COMPASS", False), ("KEYSTONE", False), ("BYPASS", False),
    ],
)  # fmt: skip
def test_more_names_that_look_secret(name: str, secret: bool) -> None:
    assert looks_secret(name) is secret


# --- ready-made splits


def split_file() -> bytes:
    content, random = io.BytesIO(), np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for part in ("source", "target", "test"):
        arrays[f"{part}_images_1"] = random.integers(0, 255, (4, 3, 3), dtype=np.uint8)
        arrays[f"{part}_labels_1"] = np.arange(4) % 2
    np.savez(content, **arrays)
    return content.getvalue()


SPLITS = split_file()
FLIPS = st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=5)


@given(FLIPS, st.integers(0, 3000))
@example([], len(SPLITS))
@example([], 0)
def test_damaged_splits(file: Path, flips: list[tuple[int, int]], cut: int) -> None:
    content = bytearray(SPLITS)
    for place, value in flips:
        content[place % len(content)] = value
    (file.parent / "a_to_b_rep0.npz").write_bytes(content[: cut or None] if cut else b"")
    config = FewLabelSplitsConfig("few_label_splits", root=str(file.parent))

    def read() -> None:
        for place in find_splits(config):
            load_split(place)

    refused = refusal(read)
    if content == SPLITS and cut >= len(SPLITS):
        assert refused is None


@pytest.mark.parametrize("labels", [[], [-1, 0, 1, 0], [10**12, 0, 1, 0], [0.5, 1, 0, 1]])
def test_labels_that_no_split_has(labels: list[float], tmp_path: Path) -> None:
    with np.load(io.BytesIO(SPLITS)) as stored:
        arrays = dict(stored)
    arrays["source_labels_1"] = np.array(labels)
    np.savez(tmp_path / "a_to_b_rep0.npz", **arrays)
    (place,) = find_splits(FewLabelSplitsConfig("few_label_splits", root=str(tmp_path)))
    assert "source_labels_1" in str(refusal(lambda: load_split(place)))
    np.save(tmp_path / "x.npy", arrays["source_images_1"])
    os.replace(tmp_path / "x.npy", tmp_path / "a_to_b_rep0.npz")
    assert "single array" in str(refusal(lambda: find_splits(FewLabelSplitsConfig("x", root=str(tmp_path)))))
