"""Faults done to real processes of `tlcl`, and what came of each: `python -m torture`."""
