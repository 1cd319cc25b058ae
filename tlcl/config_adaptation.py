"""For users' files and the copies of them in run directories: the place is tlcl/config/adaptation.py."""

from tlcl.config.adaptation import *  # noqa: F403
