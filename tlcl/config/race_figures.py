"""What a race of depths comes to in three numbers, from its record in the summary of a how_deep run."""

from collections.abc import Mapping
from typing import Any


def is_finding(chosen: Mapping[str, Any]) -> bool:
    """Whether what is recommended is better by more than chance; races of before recommend nothing else."""
    return bool(chosen.get("better", True))


def race_figures(summary: Mapping[str, Any]) -> dict[str, float]:
    """Accuracies on the images that the folds held out, 0 to 1, and their difference; empty without a race.

    Returns:
        `recommended_acc`, of what is recommended; `head_acc`, of the head alone; `gain`, 0 where the head stays;
        `found`, 1 where more than chance says that deeper is better, else 0: the gain of a guess is that of the
        setting that looked best, so rather too high.
    """
    race = summary.get("race")
    if not race:
        return {}
    head = float(race["head"]["acc"])
    chosen = next((row for row in race["settings"] if row["setting"] == race["chosen"]), None)
    gain = 0.0 if chosen is None else float(chosen["gain"])
    found = chosen is not None and is_finding(chosen)
    return {"recommended_acc": head + gain, "head_acc": head, "gain": gain, "found": float(found)}
