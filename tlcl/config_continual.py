"""For users' files and the copies of them in run directories: the place is tlcl/config/continual.py."""

from tlcl.config.continual import *  # noqa: F403
