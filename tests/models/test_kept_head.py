"""A trained head that goes on: each row stays with its class, in whatever order and form the names are."""

import json
import unicodedata
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.conftest import composed
from tlcl.config.parse import parse_config
from tlcl.errors import UserError
from tlcl.models.build import build_model
from tlcl.models.weights import RUN_MODEL, load_kept_head


def test_rows_follow_their_classes(tmp_path: Path) -> None:
    config = parse_config(composed(tmp_path, "model=small_cnn"))
    trained, backbone = build_model(config.model, 3, seed=1)
    state = {key: value.contiguous() for key, value in backbone.native_state(trained).items()}
    save_file(state, tmp_path / RUN_MODEL)
    mac = unicodedata.normalize("NFD", "café")
    about = {"classes": ["1", "10", mac], "size": 8, "channels": 3}
    (tmp_path / "labels.json").write_text(json.dumps(about))
    net, _ = build_model(config.model, 3, seed=2)
    load_kept_head(net, backbone, str(tmp_path), [unicodedata.normalize("NFC", mac), "1", "10"])
    assert torch.equal(net.classifier.weight, trained.classifier.weight[[2, 0, 1]])
    assert torch.equal(net.classifier.bias, trained.classifier.bias[[2, 0, 1]])
    with pytest.raises(UserError, match="was trained on the classes 1, 10"):
        load_kept_head(net, backbone, str(tmp_path), ["1", "2", "10"])
