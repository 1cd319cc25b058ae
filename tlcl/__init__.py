"""tlcl: transfer learning and continual learning with ResNet-18 on PyTorch Lightning and Hydra."""

import os

__version__ = "0.1.0"

# Read when torch is loaded, here and in processes that are started here: threads that wait sleep. Spinning, they
# would take the processors from another program, and from the very thread that they wait for.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
