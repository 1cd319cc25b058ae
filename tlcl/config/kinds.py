"""Which kinds of jobs a config can describe: the one place that tells them apart.

A kind names the file that runs it and the one that draws its page, as entry points do: what is above this folder is
imported when it is used, so that reading a config or a record waits for neither.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any

from tlcl.config.adaptation import OF_THE_TARGET
from tlcl.config.race_figures import race_figures
from tlcl.config.rules import (
    check_adaptation,
    check_continual,
    check_few_labels,
    check_finetuning,
    check_how_deep,
)
from tlcl.config.schema import Config

Summary = Mapping[str, Any]
UNVALIDATED = (*OF_THE_TARGET, "adabn")  # methods of adaptation that no figure without target labels says much of


@dataclass(frozen=True)
class Kind:
    """One kind of job.

    Attributes:
        name: `job` in its summary.
        describes: whether a config, as a mapping of its groups, is of this kind or of one further down `KINDS`.
        job: the module whose `run(config, directory)` gives the summary, and whose `check(configs)`, where
            `compared` is set, sees that configs which differ in the method alone fit the data.
        plots, page: MODULE:FUNCTION that takes the run directory.
        rule: what its config must be like; raises `UserError`.
        validation: the summary's figure that a search maximises and runs are chosen by, without test images and
            hidden labels; None: it has none.
        validated: whether a run of this config has that figure, where the kind has one.
        reported: key of the summary with the accuracy that is reported, 0 to 1.
        meaning: what `validation` and `reported` are, in words.
        methods: the config group whose place `compare` takes.
        compared: keys of the summary that a comparison of methods shows; the highest of the first is best.
    """

    name: str
    describes: Callable[[Mapping[str, Any]], bool]
    job: str
    plots: str
    page: str
    rule: Callable[[Config], None]
    validation: Callable[[Summary], float | None] | None = None
    validated: Callable[[Config], bool] = lambda config: True
    reported: str = "test_acc"
    meaning: tuple[str, str] = ("validation figure", "test accuracy")
    methods: str | None = None
    compared: tuple[str, ...] = ()


def finetuning_score(summary: Summary) -> float | None:
    """Validation accuracy of the selected epoch, 0 to 1."""
    return _number((summary.get("selected") or {}).get("val_acc"))


def continual_score(summary: Summary) -> float | None:
    """Accuracy on the validation images of all classes after the last task, 0 to 1; None with data.val_size=0."""
    return _number((summary.get("validation") or {}).get("final_accuracy"))


def how_deep_score(summary: Summary) -> float | None:
    """Accuracy of what a race recommends on the images that its folds held out, 0 to 1."""
    return race_figures(summary).get("recommended_acc")


def adaptation_score(summary: Summary) -> float | None:
    """`source_entropy` of the tested epoch, -1 to 1 (see `tlcl.adaptation.validator`).

    The source's validation accuracy where no target image was held out. None for methods that it says nothing of:
    those that do not end as a network of the source, and AdaBN, which changes the network after it was measured.
    """
    if (summary.get("method") or {}).get("name") in UNVALIDATED:
        return None
    chosen = summary.get("selected") or {}
    accuracy, entropy = _number(chosen.get("acc")), _number(chosen.get("target_entropy"))
    return accuracy if accuracy is None or entropy is None else accuracy - entropy


def _adaptation_validated(config: Config) -> bool:
    assert config.source is not None
    named = config.adaptation is not None and config.adaptation.name in UNVALIDATED
    return config.source.val_size != 0 and not named


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _check_compared(config: Config) -> None:
    """The rule of the runs that a comparison makes."""
    compared_kind(vars(config)).rule(config)


def _value(group: Any, key: str) -> Any:
    """Of a group that is a mapping in a record, a dataclass in a `Config`."""
    return group.get(key) if isinstance(group, Mapping) else getattr(group, key, None)


def _has(group: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda config: config.get(group) is not None


KINDS = (
    Kind(
        name="few_labels",
        describes=lambda config: _value(config.get("data"), "source") == "few_label_splits",
        job="tlcl.sweeps.few_labels",
        plots="tlcl.reports.few_labels:save_few_label_plots",
        page="tlcl.reports.few_labels:write_few_label_report",
        rule=check_few_labels,
        methods="adaptation",
    ),
    Kind(
        name="how_deep",
        describes=_has("depth"),
        job="tlcl.jobs.how_deep",
        plots="tlcl.reports.how_deep:save_how_deep_plots",
        page="tlcl.reports.how_deep:write_how_deep_report",
        rule=check_how_deep,
        validation=how_deep_score,
        meaning=("accuracy of what is recommended on the folds' held-out images", "test accuracy"),
    ),
    Kind(
        name="compare",
        describes=_has("compare"),
        job="tlcl.sweeps.compare",
        plots="tlcl.reports.compare:save_compare_plots",
        page="tlcl.reports.compare:write_compare_report",
        rule=_check_compared,
    ),
    Kind(
        name="adapt",
        describes=_has("source"),
        job="tlcl.jobs.adapt",
        plots="tlcl.reports.plots.adaptation:save_adaptation_plots",
        page="tlcl.reports.adaptation:write_adaptation_report",
        rule=check_adaptation,
        validation=adaptation_score,
        validated=_adaptation_validated,
        meaning=(
            "source validation accuracy less the target's prediction entropy",
            "accuracy on the target's test images",
        ),
        methods="adaptation",
        compared=("test_acc", "source_test_acc", "a_distance"),
    ),
    Kind(
        name="continual",
        describes=_has("continual"),
        job="tlcl.jobs.continual",
        plots="tlcl.reports.plots.continual:save_continual_plots",
        page="tlcl.reports.continual:write_continual_report",
        rule=check_continual,
        validation=continual_score,
        validated=lambda config: config.data.val_size != 0,
        reported="final_accuracy",
        meaning=(
            "accuracy on the validation images of all classes after the last task",
            "accuracy on the test images of all classes after the last task",
        ),
        methods="method",
        compared=(
            "final_accuracy", "task_given_accuracy", "average_incremental_accuracy", "average_accuracy",
            "forgetting", "backward_transfer", "forward_transfer", "mean_confidence",
        ),
    ),
    Kind(
        name="finetune",
        describes=lambda config: True,
        job="tlcl.jobs.finetune",
        plots="tlcl.reports.plots.training:save_plots",
        page="tlcl.reports.finetune:write_report",
        rule=check_finetuning,
        validation=finetuning_score,
        meaning=("validation accuracy of the selected epoch", "test accuracy"),
    ),
)  # fmt: skip
NAMED = {kind.name: kind for kind in KINDS}


def kind_of(config: Mapping[str, Any]) -> Kind:
    """The kind of job that a config, by its groups' names, describes: the first of `KINDS` that says so."""
    return next(kind for kind in KINDS if kind.describes(config))


def compared_kind(config: Mapping[str, Any]) -> Kind:
    """The kind of the runs that a comparison makes."""
    return kind_of({str(key): config[key] for key in config if key != "compare"})


def load(name: str) -> Callable[..., Any]:
    """What MODULE:FUNCTION names, imported now."""
    function: Callable[..., Any] = resolve_name(name)
    return function


def validation_figure(summary: Summary) -> float | None:
    """What a search maximises and runs are chosen by; no test image and no hidden target label is in it.

    Returns:
        None for a job that has none: a comparison, a continual run with data.val_size=0, one that is not complete.
    """
    kind = NAMED.get(summary.get("job", ""))
    return kind.validation(summary) if kind and kind.validation else None


def reported_figure(summary: Summary) -> float | None:
    """The accuracy that is reported, 0 to 1; None for a job that has no single one."""
    kind = NAMED.get(summary.get("job", ""))
    return _number(summary.get(kind.reported if kind else "test_acc"))
