"""Domain separation networks: which loss reaches which part, when the similarity begins, and resuming."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.adaptation.conftest import pair
from tests.conftest import composed, go
from tests.jobs.conftest import Killed
from tlcl.adaptation.methods.dsn import DSN, DSNConfig, codes, difference, scale_invariant_mse
from tlcl.adaptation.methods.registry import build_method
from tlcl.adaptation.module import AdaptationModule
from tlcl.config.parse import parse_config
from tlcl.config.schema import ModelConfig
from tlcl.errors import UserError
from tlcl.jobs import adapt as adaptation
from tlcl.models.blocks import INPUTS, Blocks
from tlcl.models.build import build_model
from tlcl.models.resnet18 import ResNet18Config
from tlcl.models.small_cnn import SmallCNNConfig
from tlcl.tracking.checkpoint import read_checkpoint
from tlcl.tracking.records import read_lines

pytestmark = pytest.mark.usefixtures("undrawn")

SMALL = SmallCNNConfig(name="small_cnn", weights="none", input_size=16)
RESNET = ResNet18Config(name="resnet18", weights="none", input_size=32)
PARTS = ("task", "reconstruction", "difference", "similarity")


def learner(model: ModelConfig = SMALL, **changes: Any) -> tuple[Blocks, DSN]:
    net, _ = build_model(model, 4, seed=0)
    config = DSNConfig(name="dsn", **{"similarity_from": 0, **changes})
    method = build_method(config, net, seed=0)
    assert isinstance(method, DSN)
    return net, method


def batch() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Source images and labels, target images of another size, hidden labels."""
    # A bright bar whose place is the class; upright in the source, lying and less bright in the target.
    source, target = torch.zeros(6, 1, 16, 16), torch.zeros(5, 3, 20, 20)
    for image in range(6):
        source[image, :, :, 4 * (image % 4) : 4 * (image % 4) + 4] = 250
    for image in range(5):
        target[image, :, 5 * (image % 4) : 5 * (image % 4) + 5] = 150
    source, target = source.to(torch.uint8), target.to(torch.uint8)
    return source, torch.tensor([0, 1, 2, 3, 0, 1]), target, torch.full((5,), -1)


def reached(part: Tensor, net: Blocks, method: DSN) -> set[str]:
    """Names of what gets a gradient of `part` that is not zero."""
    modules = {
        "shared": net.block("stem"),
        "classifier": net.classifier,
        "source encoder": method.source_encoder,
        "target encoder": method.target_encoder,
        "decoder": method.decoder,
        "discriminator": method.discriminator or torch.nn.Identity(),
    }
    net.zero_grad(), method.zero_grad()
    part.backward(retain_graph=True)
    return {
        name
        for name, module in modules.items()
        if any(p.grad is not None and bool(p.grad.any()) for p in module.parameters())
    }


def test_each_loss_reaches_its_parts_alone() -> None:
    """The classification, above all, teaches no private encoder."""
    net, method = learner()
    parts = method.loss(net, pair(*batch()), 0.0).parts
    private = {"source encoder", "target encoder"}
    assert tuple(parts) == PARTS
    assert reached(parts["task"], net, method) == {"shared", "classifier"}
    assert reached(parts["reconstruction"], net, method) == {"shared", "decoder", *private}
    assert reached(parts["difference"], net, method) == {"shared", *private}
    assert reached(parts["similarity"], net, method) == {"shared", "discriminator"}


def test_the_loss_is_the_weighted_sum_of_both_domains_parts() -> None:
    weights = {"reconstruction": 0.5, "difference": 3.0, "weight": 0.7, "similarity": "mmd", "similarity_from": 0}
    net, method = learner(**weights)
    source, labels, target, hidden = batch()
    step = method.loss(net, pair(source, labels, target, hidden), 0.0)
    images = [net(part, stop=INPUTS) for part in (source, target)]
    shared = [codes(net(part, start=INPUTS, stop="features")) for part in images]
    private = [codes(method.source_encoder(images[0])), codes(method.target_encoder(images[1]))]
    rebuilt = [method.decoder(a + b) for a, b in zip(shared, private, strict=True)]
    expected = {
        "task": torch.nn.functional.cross_entropy(net(source), labels),
        "reconstruction": sum(scale_invariant_mse(a, b) for a, b in zip(images, rebuilt, strict=True)),
        "difference": sum(difference(a, b) for a, b in zip(private, shared, strict=True)),
        "similarity": method.similarity(*shared),
    }
    for name, value in expected.items():
        torch.testing.assert_close(step.parts[name], value)
    total = expected["task"] + 0.5 * expected["reconstruction"] + 3 * expected["difference"]
    torch.testing.assert_close(step.loss, total + 0.7 * expected["similarity"])


def test_labelled_targets_are_classified_too() -> None:
    net, method = learner()
    source, labels, target, hidden = batch()
    known = hidden.clone()
    known[0] = 2
    parts = [method.loss(net, pair(source, labels, target, some), 0.0).parts["task"] for some in (hidden, known)]
    extra = torch.nn.functional.cross_entropy(net(target[:1]), known[:1])
    torch.testing.assert_close(parts[1], parts[0] + extra)


def test_all_three_begin_at_the_stated_step() -> None:
    """As in the authors' code: before it the task alone is learnt."""
    net, method = learner(similarity_from=2)
    steps = [method.loss(net, pair(*batch()), 0.0) for _ in range(4)]
    assert [PARTS[3] in step.parts for step in steps] == [False, False, True, True]
    for step in steps[:2]:
        torch.testing.assert_close(step.loss, step.parts["task"])
    parts = steps[2].parts
    added = 0.64 * parts["reconstruction"] + 0.0077 * parts["difference"] + 0.25 * parts["similarity"]
    torch.testing.assert_close(steps[2].loss - parts["task"], added)
    other = learner(similarity_from=2)[1]
    other.load_state_dict(method.state_dict())
    assert other.steps == 4


def test_the_weight_of_the_reconstruction_is_the_authors() -> None:
    """Their pairwise squared error of TensorFlow: for each image 2 (sum d^2 / k - (sum d)^2 / k^2), summed."""
    images, others = torch.rand(32, 3, 8, 8), torch.rand(32, 3, 8, 8)
    total, count = 0.0, 3 * 8 * 8
    for error in (images - others).flatten(1).double():
        total += float(2 * ((error**2).sum() / count - error.sum() ** 2 / count**2))
    assert 0.64 * float(scale_invariant_mse(images, others)) == pytest.approx(0.01 * total, rel=1e-5)


def test_the_weight_of_the_difference_is_the_authors_at_their_width_and_batch() -> None:
    """Their mean over the 100 x 100 entries of the correlation, 0.075 of it, in a batch of 32."""
    private, shared = torch.randn(32, 100), torch.randn(32, 100)
    rows, others = (torch.nn.functional.normalize(one - one.mean(0)) for one in (private, shared))
    theirs = 0.075 * float((rows.T @ others).square().mean())
    assert 0.0077 * float(difference(private, shared)) == pytest.approx(theirs, rel=0.01)


def test_private_encoders_are_like_the_shared_one_with_weights_of_their_own() -> None:
    net, method = learner(block="layer1")
    images = torch.rand(2, 3, 16, 16)
    assert method.source_encoder(images).shape == net(images, start=INPUTS, stop="layer1").shape
    states = [net.block("stem")[0].weight, method.source_encoder[0][0].weight, method.target_encoder[0][0].weight]
    assert not any(torch.equal(states[a], states[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
    again = learner(block="layer1")[1].state_dict()
    state = method.state_dict()
    assert all(torch.equal(value, again[key]) for key, value in state.items() if isinstance(value, torch.Tensor))


@pytest.mark.parametrize("model", [SMALL, RESNET], ids=lambda model: model.name)
@pytest.mark.parametrize("block", ["layer2", "features"])
def test_learns_to_rebuild_both_domains_with_separate_codes(model: ModelConfig, block: str) -> None:
    net, method = learner(model, block=block, reconstruction=1.0, similarity="mmd", weight=0.0)
    optimizer = torch.optim.Adam([*net.parameters(), *method.parameters()], lr=2e-3)
    history = []
    for _ in range(20):
        step = method.loss(net, pair(*batch()), 0.0)
        optimizer.zero_grad()
        step.loss.backward()
        optimizer.step()
        history.append({name: value.item() for name, value in step.parts.items()})
    assert history[-1]["reconstruction"] < 0.8 * history[0]["reconstruction"]
    assert history[-1]["task"] < 0.8 * history[0]["task"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("adaptation.similarity=coral", "adaptation.similarity='coral' is not one of dann, mmd"),
        ("adaptation.similarity_from=-1", "adaptation.similarity_from=-1 must be at least 0"),
        ("adaptation.block=layer5", "adaptation.block='layer5'"),
        ("+adaptation.ramp=dann", "does not go with the present choice of adaptation"),
    ],
)
def test_bad_config_is_one_sentence(tmp_path: Path, change: str, sentence: str) -> None:
    config = composed(tmp_path, "+experiment=adapt_digits", "adaptation=dsn", "model=small_cnn", change)
    with pytest.raises(UserError, match=sentence):
        go(config)
    assert not (tmp_path / "run" / "config.yaml").exists()  # fails before anything is written


@pytest.mark.slow
def test_resumed_run_is_bitwise_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Private encoders, decoder, discriminator and the count of steps go on where they were."""
    overrides = [
        "+experiment=adapt_digits", "adaptation=dsn", "adaptation.similarity_from=4", "model=small_cnn",
        "source.train_size=96", "source.val_size=20", "source.batch_size=32", "source.images_per_class=20",
        "trainer.epochs=3",
    ]  # fmt: skip
    whole = go(composed(tmp_path / "whole", *overrides), adaptation.run)
    original = AdaptationModule.training_step

    def dies(self: AdaptationModule, data: Any, batch_idx: int) -> Tensor:
        if (self.current_epoch, batch_idx) == (2, 1):
            monkeypatch.setattr(AdaptationModule, "training_step", original)
            raise Killed
        return original(self, data, batch_idx)

    monkeypatch.setattr(AdaptationModule, "training_step", dies)
    config = composed(tmp_path / "killed", *overrides)
    with pytest.raises(Killed):
        go(config, adaptation.run)
    resumed = go(config, adaptation.run)
    assert (whole / "model.safetensors").read_bytes() == (resumed / "model.safetensors").read_bytes()
    ours, theirs = (read_checkpoint(path / "checkpoints" / "last.ckpt")["state_dict"] for path in (whole, resumed))
    assert ours["method._extra_state"]["steps"] == 9
    assert any(name.startswith("method.decoder") for name in ours)
    extra = "method._extra_state"
    assert ours.pop(extra) == theirs.pop(extra)
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    lines = read_lines(resumed / "metrics.jsonl")
    assert lines == read_lines(whole / "metrics.jsonl")
    assert ["train/similarity" in line for line in lines] == [False, True, True]
    parse_config(config)
