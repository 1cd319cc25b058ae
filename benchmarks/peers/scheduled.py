"""finetuning-scheduler as its documentation has it: phases from the head on, each until the validation loss rests.

Three phases (head; the last two stages; the two before them), a tenth of the images to validate on, the best
checkpoint of all phases tested; otherwise as the plain loop.
"""

import json
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import timm
import torch
import yaml
from finetuning_scheduler import FinetuningScheduler, FTSCheckpoint, FTSEarlyStopping
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from torchvision.datasets import ImageFolder

EPOCHS, BATCH, RATE, DECAY, PATIENCE = 25, 32, 1e-3, 0.05, 2
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3
PHASES = (("classifier",), ("conv_head", "bn2", r"blocks\.5", r"blocks\.6"), (r"blocks\.3", r"blocks\.4"))


class Classifier(L.LightningModule):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def training_step(self, batch: Any, index: int) -> Tensor:
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("val_loss", nn.functional.cross_entropy(self.net(batch[0]), batch[1]), prog_bar=False)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return torch.optim.AdamW(trained, RATE, weight_decay=DECAY)


def main() -> None:
    warnings.simplefilter("ignore")
    train, test, weights, size, seed = *sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5])
    L.seed_everything(seed)
    augment = timm.data.create_transform(
        (3, size, size), is_training=True, scale=(0.35, 1.0), color_jitter=0.0, mean=MEAN, std=STD
    )
    plain = timm.data.create_transform((3, size, size), mean=MEAN, std=STD, crop_pct=1.0)
    augmented, asked = ImageFolder(train, augment), ImageFolder(test, plain)
    ours, held = train_test_split(
        range(len(augmented)), test_size=0.1, stratify=augmented.targets, random_state=seed
    )
    net: Any = timm.create_model("tf_efficientnet_lite0", checkpoint_path=weights)
    net.reset_classifier(len(asked.classes))
    with tempfile.TemporaryDirectory() as folder:
        schedule = {
            phase: {"params": [rf"net\.{name}\..*" for name in names]} for phase, names in enumerate(PHASES)
        }
        (Path(folder) / "schedule.yaml").write_text(yaml.safe_dump(schedule))
        trainer = L.Trainer(
            max_epochs=EPOCHS,
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
            callbacks=[
                FinetuningScheduler(ft_schedule=f"{folder}/schedule.yaml"),
                FTSEarlyStopping(monitor="val_loss", patience=PATIENCE),
                FTSCheckpoint(dirpath=folder, monitor="val_loss", save_top_k=1),
            ],
        )
        module = Classifier(net)
        trainer.fit(
            module,
            DataLoader(Subset(augmented, ours), BATCH, shuffle=True, drop_last=True),
            DataLoader(Subset(ImageFolder(train, plain), held), 64),
        )
        best = trainer.checkpoint_callback.best_model_path  # type: ignore[union-attr]
        module.load_state_dict(torch.load(best, weights_only=True)["state_dict"])
    module.eval()
    with torch.inference_mode():
        predicted = torch.cat([net(images).argmax(1) for images, _ in DataLoader(asked, 64)])
    right = predicted == torch.tensor(asked.targets)
    print(json.dumps({"accuracy": float(right.double().mean()), "right": right.tolist()}))


if __name__ == "__main__":
    main()
