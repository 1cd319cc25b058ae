"""Every config key, and from a composed config to the typed, checked one; what users' own files import."""

from tlcl.config.schema import *  # noqa: F403
