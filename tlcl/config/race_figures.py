"""What a race of depths comes to in three numbers, from its record in the summary of a how_deep run."""

from collections.abc import Mapping
from typing import Any


def race_figures(summary: Mapping[str, Any]) -> dict[str, float]:
    """Accuracies on the images that the folds held out, 0 to 1, and their difference; empty without a race.

    Returns:
        `recommended_acc`, of what is recommended; `head_acc`, of the head alone; `gain`, 0 where the head stays.
    """
    race = summary.get("race")
    if not race:
        return {}
    head = float(race["head"]["acc"])
    gain = next((float(row["gain"]) for row in race["settings"] if row["setting"] == race["chosen"]), 0.0)
    return {"recommended_acc": head + gain, "head_acc": head, "gain": gain}
