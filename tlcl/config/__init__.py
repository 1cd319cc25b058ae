"""Every config key, and from a composed config to the typed, checked one; what users' own files import."""

from tlcl.config.registry import moved as __getattr__  # noqa: F401
from tlcl.config.schema import *  # noqa: F403
