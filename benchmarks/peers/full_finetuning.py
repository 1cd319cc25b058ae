"""Full fine-tuning in a plain loop: 25 epochs, as the PyTorch tutorial on these ants and bees has it.

AdamW, cosine, random resized crop and flip; batches by a DataLoader.
"""

import math

import torch
from torch import nn
from torch.utils.data import DataLoader

from benchmarks.peers.parts import BATCH, DECAY, EPOCHS, RATE, answer, given


def main() -> None:
    here = given()
    net, batches = here.net, DataLoader(here.augmented, BATCH, shuffle=True, drop_last=True)
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
    answer(net, here.asked)


if __name__ == "__main__":
    main()
