"""tlcl: transfer learning and continual learning with ResNet-18 on PyTorch Lightning and Hydra."""

__version__ = "0.1.0"
