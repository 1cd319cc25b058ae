"""For users' files and the copies of them in run directories: see tlcl/config/adaptation.py and each method."""

from tlcl.config.adaptation import *  # noqa: F403
from tlcl.config.registry import moved as __getattr__  # noqa: F401
