"""Full fine-tuning in a plain loop: 25 epochs, as the PyTorch tutorial on these ants and bees has it.

AdamW, cosine, random resized crop and flip; batches by a DataLoader.
"""

import json
import math
import sys
from typing import Any

import timm
import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

EPOCHS, BATCH, RATE, DECAY = 25, 32, 1e-3, 0.05
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3


def main() -> None:
    train, test, weights, size, seed = *sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5])
    torch.manual_seed(seed)
    augment = timm.data.create_transform(
        (3, size, size), is_training=True, scale=(0.35, 1.0), color_jitter=0.0, mean=MEAN, std=STD
    )
    plain = timm.data.create_transform((3, size, size), mean=MEAN, std=STD, crop_pct=1.0)
    batches = DataLoader(ImageFolder(train, augment), BATCH, shuffle=True, drop_last=True)
    asked = ImageFolder(test, plain)
    net: Any = timm.create_model("tf_efficientnet_lite0", checkpoint_path=weights)
    net.reset_classifier(len(asked.classes))
    optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=DECAY)
    steps = EPOCHS * len(batches)
    cosine = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5 + 0.5 * math.cos(math.pi * step / steps))
    net.train()
    for _ in range(EPOCHS):
        for images, labels in batches:
            loss = nn.functional.cross_entropy(net(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            cosine.step()
    net.eval()
    with torch.inference_mode():
        predicted = torch.cat([net(images).argmax(1) for images, _ in DataLoader(asked, 64)])
    right = predicted == torch.tensor(asked.targets)
    print(json.dumps({"accuracy": float(right.double().mean()), "right": right.tolist()}))


if __name__ == "__main__":
    main()
