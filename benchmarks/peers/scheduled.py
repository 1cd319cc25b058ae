"""finetuning-scheduler as its documentation has it: phases from the head on, each until the validation loss rests.

Three phases (head; the last two stages; the two before them), a tenth of the images to validate on, the best
checkpoint of all phases tested; otherwise as the plain loop.
"""

import tempfile
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml
from finetuning_scheduler import FinetuningScheduler, FTSCheckpoint, FTSEarlyStopping
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from benchmarks.peers.parts import BATCH, DECAY, EPOCHS, RATE, answer, given

PATIENCE = 2
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
    here = given()
    L.seed_everything(here.seed)
    net, targets = here.net, here.augmented.targets
    ours, held = train_test_split(range(len(targets)), test_size=0.1, stratify=targets, random_state=here.seed)
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
            DataLoader(Subset(here.augmented, ours), BATCH, shuffle=True, drop_last=True),
            DataLoader(Subset(here.plain, held), 64),
        )
        best = trainer.checkpoint_callback.best_model_path  # type: ignore[union-attr]
        module.load_state_dict(torch.load(best, weights_only=True)["state_dict"])
    answer(net, here.asked)


if __name__ == "__main__":
    main()
