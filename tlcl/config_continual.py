"""For users' files and the copies of them in run directories: see tlcl/config/continual.py and each method."""

from tlcl.config.continual import *  # noqa: F403
from tlcl.config.registry import moved as __getattr__  # noqa: F401
