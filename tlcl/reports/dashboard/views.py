"""What the dashboard shows: one description, from which the views in W&B and the local page are both made.

Keys of figures are those that runs log (see `tlcl.tracking.run_history`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias


@dataclass(frozen=True)
class Value:
    """One value a run: of its config, keys joined by dots, or of its summary, keys joined by slashes."""

    where: Literal["config", "summary"]
    key: str
    label: str
    log: bool = False


@dataclass(frozen=True)
class Lines:
    """Figures over `x` (epoch or task), a line a run and key."""

    title: str
    x: Literal["epoch", "task"]
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Bars:
    """One figure of each run's summary, as bars."""

    title: str
    key: str


@dataclass(frozen=True)
class Scatter:
    """Two values of each run, as a point."""

    title: str
    x: Value
    y: Value


@dataclass(frozen=True)
class Parallel:
    """Parallel coordinates: a line a run through an axis a value; the last one gives the colour."""

    title: str
    columns: tuple[Value, ...]


@dataclass(frozen=True)
class Pictures:
    """A plot of each of the newest runs, by its name in `plots/`."""

    title: str
    plot: str


@dataclass(frozen=True)
class Matrix:
    """The accuracy matrix of each of the newest runs as a table."""

    title: str


@dataclass(frozen=True)
class Confusion:
    """True against predicted classes of each of the newest runs."""

    title: str


Panel: TypeAlias = Lines | Bars | Scatter | Parallel | Pictures | Matrix | Confusion


@dataclass(frozen=True)
class View:
    """The runs of one job.

    Attributes:
        job: a kind's name, see `tlcl.config.kinds`.
        columns: of the table of runs, beside the name.
        by_sweep: whether runs are folded together by the sweep they belong to.
    """

    name: str
    about: str
    job: str
    panels: tuple[Panel, ...]
    columns: tuple[Value, ...]
    by_sweep: bool = False

    def values(self) -> Iterator[Value]:
        """Every value that the view shows."""
        yield from self.columns
        for panel in self.panels:
            if isinstance(panel, Bars):
                yield Value("summary", panel.key, panel.title)
            elif isinstance(panel, Scatter):
                yield from (panel.x, panel.y)
            elif isinstance(panel, Parallel):
                yield from panel.columns

    def curves(self) -> Iterator[tuple[str, str]]:
        """(x, key) of every line that the view shows."""
        for panel in self.panels:
            if isinstance(panel, Lines):
                yield from ((panel.x, key) for key in panel.keys)

    def plots(self) -> Iterator[str]:
        """Name of every plot of a run that the view shows."""
        for panel in self.panels:
            if isinstance(panel, Pictures):
                yield panel.plot
            elif isinstance(panel, Confusion):
                yield "confusion"


TEST = Value("summary", "test_acc", "test accuracy")
SECONDS = Value("summary", "seconds", "seconds")
SIZE = Value("summary", "train_size", "labelled images", log=True)
DEPTH = Value("config", "thaw.depth", "blocks retrained (thaw.depth)")
SEED = Value("config", "seed", "seed")
VALIDATION = Value("summary", "selected/val_acc", "validation accuracy")
RETRAINED = Value("summary", "parameters/trained", "weights retrained", log=True)
STARTED_FROM = Value("summary", "weights/source", "started from")
METHOD = Value("summary", "method/name", "method")
CONFUSION = Confusion("Test images by true and predicted class")

FINETUNING = View(
    name="tlcl: fine-tuning",
    about="How much of the network to retrain: curves of each run, what thawed when, and what it brought.",
    job="finetune",
    panels=(
        Lines("Validation accuracy", "epoch", ("val/acc",)),
        Lines("Training accuracy", "epoch", ("train/acc",)),
        Lines("Validation loss", "epoch", ("val/loss",)),
        Lines("Training loss", "epoch", ("train/loss",)),
        Lines("Blocks trained: each step up is a thaw", "epoch", ("trainable_blocks",)),
        Lines("Learning rates of the head and, in a ResNet, layer4", "epoch", ("lr/head", "lr/layer4")),
        Bars("Test accuracy", "test_acc"),
        Bars("Test loss", "test_loss"),
        Scatter("Did validation tell the truth?", VALIDATION, TEST),
        Scatter("What retraining more brought", RETRAINED, TEST),
        CONFUSION,
    ),
    columns=(TEST, VALIDATION, SIZE, RETRAINED, STARTED_FROM, SEED, SECONDS),
)
FINAL = Value("summary", "final_accuracy", "accuracy on all classes at the end")
FORGETTING = Value("summary", "forgetting", "forgetting")
CONTINUAL = View(
    name="tlcl: continual learning",
    about="What is forgotten when classes come one task after another, and what becomes of it by method.",
    job="continual",
    panels=(
        Lines("Accuracy on all classes so far", "task", ("continual/cumulative_accuracy",)),
        Lines("Forgetting so far", "task", ("continual/forgetting",)),
        Lines("Accuracy on the first task", "task", ("continual/accuracy_task_1",)),
        Lines("Mean accuracy over the tasks so far", "task", ("continual/average_accuracy",)),
        Bars("Accuracy on all classes at the end", "final_accuracy"),
        Bars("Forgetting at the end", "forgetting"),
        Scatter("What was forgotten, and what it cost", FORGETTING, FINAL),
        Lines("Training loss, all tasks", "epoch", ("train/loss",)),
        Pictures("Accuracy on each task (column) after each task (row)", "matrix"),
        Matrix("Accuracy matrix"),
        CONFUSION,
    ),
    columns=(
        METHOD,
        FINAL,
        Value("summary", "average_incremental_accuracy", "average incremental accuracy"),
        FORGETTING,
        SIZE,
        STARTED_FROM,
        SEED,
        SECONDS,
    ),
)
TARGET = Value("summary", "test_acc", "target test accuracy")
SOURCE = Value("summary", "source_test_acc", "source test accuracy")
DISTANCE = Value("summary", "a_distance", "proxy A-distance")
ADAPTATION = View(
    name="tlcl: adaptation",
    about="From a labelled source domain to a target with few labels or none.",
    job="adapt",
    panels=(
        Bars("Target test accuracy", "test_acc"),
        Bars("Source test accuracy", "source_test_acc"),
        Scatter("What the target gained and the source lost", SOURCE, TARGET),
        Scatter("Are domains that look alike classified alike?", DISTANCE, TARGET),
        Lines("Source validation accuracy", "epoch", ("val/acc",)),
        Lines("Entropy of target predictions (1: uniform)", "epoch", ("val/target_entropy",)),
        Lines("Training loss", "epoch", ("train/loss",)),
        Pictures("Both domains in the features, before and after", "embedding"),
        CONFUSION,
    ),
    columns=(
        METHOD,
        TARGET,
        SOURCE,
        Value("summary", "before/test_acc", "target before training"),
        DISTANCE,
        Value("summary", "labelled", "target labels"),
        SEED,
        SECONDS,
    ),
)
SWEEP = View(
    name="tlcl: sweeps",
    about="Freeze depth, number of labelled images and seed against test accuracy, sweep by sweep.",
    job="finetune",
    panels=(
        Parallel("Every run of the sweeps", (DEPTH, SIZE, SEED, TEST)),
        Scatter("Test accuracy by freeze depth", DEPTH, TEST),
        Scatter("Test accuracy by labelled images", SIZE, TEST),
        Scatter("What a run costs", SECONDS, TEST),
        Lines("Validation accuracy", "epoch", ("val/acc",)),
    ),
    columns=(TEST, VALIDATION, DEPTH, SIZE, SEED, SECONDS),
    by_sweep=True,
)
VIEWS = (FINETUNING, CONTINUAL, ADAPTATION, SWEEP)
