"""WiSE-FT against its formula, and in a run: what is tested, saved and recorded."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import composed, go, refusal
from tests.jobs.conftest import summary
from tlcl.config.parse import parse_config
from tlcl.finetuning.wise_ft import interpolate
from tlcl.jobs.deeper import CrossFit

KEYS = [
    "optim.head=fitted", "thaw.depth=1", "trainer.epochs=2", "model.input_size=16", "optim.lr=0.05",
    "trainer.select=best",
]  # fmt: skip


def test_weights_are_those_of_the_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    start, end = ({"w": torch.randn(5, 3, generator=generator), "n": torch.tensor(n)} for n in (2, 9))
    still = {"still": torch.randn(7, generator=generator)}
    found = interpolate(start | still, end | still, 0.3)
    expected = 0.7 * start["w"].double() + 0.3 * end["w"].double()
    torch.testing.assert_close(found["w"].double(), expected, rtol=0, atol=1e-6)
    assert found["n"] == 9
    assert torch.equal(found["still"], still["still"])
    for share, whole in ((0.0, start), (1.0, end)):
        assert torch.equal(interpolate(start, end, share)["w"], whole["w"])


def test_a_run_keeps_the_weights_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undrawn: None) -> None:
    monkeypatch.setattr(CrossFit, "_attempted", lambda self: {"images": len(self.first.indices), "kept": True})
    runs = {share: go(composed(tmp_path / share, *KEYS, f"trainer.wise_ft={share}")) for share in ("0", "0.4", "1")}
    first, between, last = (load_file(path / "model.safetensors") for path in runs.values())
    assert any(not torch.equal(first[key], last[key]) for key in first)
    for key, value in between.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, 0.6 * first[key] + 0.4 * last[key], rtol=1e-5, atol=1e-6)
    assert any("running_var" in key and not torch.equal(first[key], between[key]) for key in first)
    record, plain = summary(runs["0.4"]), summary(runs["1"])
    assert record["wise_ft"]["share"] == 0.4
    assert record["selected"]["val_acc"] == record["wise_ft"]["val_acc"]
    assert record["best"] == plain["best"]
    assert "wise_ft" not in plain
    assert (runs["0.4"] / "checkpoints" / "best.ckpt").is_file()  # the model is not its weights


def test_it_needs_a_fitted_head_and_fine_tuning(tmp_path: Path) -> None:
    stream = ["continual=class_incremental", "method=naive", "trainer.select=last"]
    for keys, part in (([], "optim.head=fitted"), (stream, "for fine-tuning alone")):
        sentence = refusal(lambda keys=keys: parse_config(composed(tmp_path, *keys, "trainer.wise_ft=0.5")))
        assert part in str(sentence)
        assert "trainer.wise_ft=0.5" in str(sentence)
