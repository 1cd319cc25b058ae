"""What a run says of images, as a table for a terminal and as CSV."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO

import numpy as np

from tlcl.errors import printable
from tlcl.system.text import aligned_rows
from tlcl.tracking.csv_cells import to_cell

NOT_SURE = "not sure"
BETWEEN = " | "  # the classes of a set


@dataclass(frozen=True)
class Classified:
    """Answers to N images of K classes.

    Attributes:
        files: (N,).
        classes: (K,), their names.
        probabilities: float (N, K), rows sum to 1.
        sets: bool (N, K), the classes that each image may be of; None where none were asked for.
    """

    files: Sequence[str]
    classes: Sequence[str]
    probabilities: np.ndarray
    sets: np.ndarray | None = None

    def csv(self) -> str:
        """CSV text: file, prediction, confidence, one probability column a class; names as `csv_cells` writes them.

        With sets one more column, `set`: names with ` | ` between them, or nothing.
        """
        text = StringIO()
        writer = csv.writer(text, lineterminator="\n")
        more = [] if self.sets is None else ["set"]
        writer.writerow(["file", "prediction", "confidence", *(f"p({name})" for name in self.classes), *more])
        for number, (file, row) in enumerate(zip(self.files, self.probabilities, strict=True)):
            best = int(row.argmax())
            cells = [to_cell(file), to_cell(self.classes[best]), f"{row[best]:.6f}", *(f"{one:.6f}" for one in row)]
            if more:
                cells.append(to_cell(BETWEEN.join(self._set(number))))
            writer.writerow(cells)
        return text.getvalue()

    def table(self) -> str:
        """Lines for a terminal: file, prediction, confidence, the next best class and its probability.

        With sets one more column: the class, or `not sure` and, if there are several, which.
        """
        heading = ["file", "prediction", "confidence", "next best", ""]
        rows = [heading if self.sets is None else [*heading, "set"]]
        for number, (file, row) in enumerate(zip(self.files, self.probabilities, strict=True)):
            # Of equal ones the first class comes first, as in the CSV.
            places = np.argsort(-row, kind="stable")[:2]
            cells = [printable(file)]
            for place in places:
                cells += [printable(self.classes[place]), f"{100 * row[place]:.1f} %"]
            cells += [""] * (len(heading) - len(cells))
            if self.sets is not None:
                cells.append(self._set_words(number))
            rows.append(cells)
        return "".join(f"{line}\n" for line in aligned_rows(rows, right=(2, 4)))

    def _set(self, number: int) -> list[str]:
        assert self.sets is not None
        return [name for name, within in zip(self.classes, self.sets[number], strict=True) if within]

    def _set_words(self, number: int) -> str:
        names = [printable(name) for name in self._set(number)]
        if len(names) == 1:
            return names[0]
        return f"{NOT_SURE}: {BETWEEN.join(names)}" if names else NOT_SURE
