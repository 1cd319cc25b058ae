"""Ten lines of timm and scikit-learn: features once, standardised, logistic regression with cross-validation."""

import json
import sys
from typing import Any

import timm
import torch
from sklearn.linear_model import LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

train, test, weights, size = *sys.argv[1:4], int(sys.argv[4])
net: Any = timm.create_model("tf_efficientnet_lite0", checkpoint_path=weights).eval()
net.reset_classifier(0)
transform = timm.data.create_transform((3, size, size), mean=(127 / 255,) * 3, std=(128 / 255,) * 3, crop_pct=1.0)
sets = [ImageFolder(folder, transform) for folder in (train, test)]
with torch.inference_mode():
    x, y = (torch.cat([net(images) for images, _ in DataLoader(part, 64)]).numpy() for part in sets)
head = make_pipeline(StandardScaler(), LogisticRegressionCV(max_iter=1000)).fit(x, sets[0].targets)
right = head.predict(y) == sets[1].targets
print(json.dumps({"accuracy": float(right.mean()), "right": right.tolist()}))
