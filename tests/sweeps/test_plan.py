"""Sweeps: failures, resuming, searches, launchers, with faked jobs; test_runs.py has some that train."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from tests.conftest import FAST
from tests.sweeps.conftest import fake_job, fake_plan, train
from tlcl.commands.report import main as report_main
from tlcl.config.kinds import reported_figure, validation_figure
from tlcl.config.schema import Config, conf_dir
from tlcl.errors import UserError
from tlcl.sweeps import job as sweep_job
from tlcl.sweeps.plan import resumed_command
from tlcl.tracking.records import config_text

pytestmark = pytest.mark.usefixtures("undrawn")

Program = Callable[..., int]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """`tlcl train ARGUMENTS` in an empty folder; returns the exit code."""
    monkeypatch.chdir(tmp_path)

    return lambda *arguments: train(monkeypatch, *arguments)


class FakeJobs:
    """In the place of `run_or_resume`: writes the records of a run at once; what to do with each is in `trouble`.

    The validation figure falls with the distance of the depth from 3 and of the learning rate from 0.01.
    """

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.groups: list[str | None] = []
        self.trouble: dict[str, BaseException | str] = {}

    def __call__(self, config: Config, path: Path) -> str | None:
        self.ran.append(path.name)
        self.groups.append(getattr(config.logger, "group", None))
        trouble = self.trouble.get(path.name)
        if isinstance(trouble, UserError):  # found before the run begins
            raise trouble
        (path / "config.yaml").write_text(config_text(config))
        if isinstance(trouble, BaseException):
            raise trouble
        if trouble is not None:
            return trouble
        assert isinstance(config.thaw["depth"], int)
        val = 1 - abs(config.thaw["depth"] - 3) / 10 - abs(config.optim.lr - 0.01)
        fake = {
            "status": "complete",
            "job": "finetune",
            "selected": {"val_acc": val},
            "test_acc": 0.5,
            "seconds": 60.0,
        }
        (path / "summary.json").write_text(json.dumps(fake))
        (path / "report.html").write_text("")
        return None


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeJobs:
    jobs = FakeJobs()
    monkeypatch.setattr(sweep_job, "run_or_resume", jobs)
    return jobs


def overrides(root: Path) -> list[list[str]]:
    paths = sorted(root.glob("*/job.json"), key=lambda path: int(path.parent.name))
    return [json.loads(path.read_text())["overrides"] for path in paths]


GRID = ["-m", *FAST, "thaw.depth=0,1,2,3", "hydra.sweep.dir=sweep"]


def test_a_failed_job_does_not_lose_the_others(
    program: Program, fake: FakeJobs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.trouble = {
        "0": UserError("thaw is wrong"),
        "1": "the loss is not finite",
        "2": ZeroDivisionError("by zero"),
    }
    assert program(*GRID) == 1
    assert fake.ran == ["0", "1", "2", "3"]
    stored = [json.loads((tmp_path / "sweep" / name / "failed.json").read_text()) for name in "012"]
    assert [failure["kind"] for failure in stored] == ["mistake", "training", "unexpected"]
    assert [failure["sentence"] for failure in stored] == [
        "thaw is wrong", "the loss is not finite", "ZeroDivisionError: by zero",
    ]  # fmt: skip
    assert "Traceback" in stored[2]["traceback"]
    said = capsys.readouterr()
    assert said.err.splitlines() == ["stopped: 3 of 4 jobs failed; try them again with +resume=sweep"]
    assert "job 3 of 4 (in 2): thaw.depth=2" in said.out
    assert "Traceback" not in said.out
    page = (tmp_path / "sweep" / "report.html").read_text()
    assert "Failed: thaw.depth=1 (in 1): the loss is not finite" in page

    fake.trouble, fake.ran = {"0": UserError("thaw is wrong")}, []
    assert program("+resume=sweep") == 2  # only mistakes are left
    assert fake.ran == ["0", "1", "2"]  # the complete one is answered from its records
    fake.trouble = {}
    assert program("+resume=sweep") == 0
    assert not list(tmp_path.rglob("failed.json"))
    assert "4 of 4 jobs complete" in capsys.readouterr().out


def test_ctrl_c_ends_the_whole_sweep_with_one_sentence(
    program: Program, fake: FakeJobs, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.trouble = {"1": KeyboardInterrupt()}
    assert program(*GRID) == 130
    assert fake.ran == ["0", "1"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "stopped: interrupted, with every finished epoch saved; resume it with +resume=sweep"
    fake.trouble, fake.ran = {}, []
    assert program(*GRID) == 0  # the same command resumes it too
    assert fake.ran == ["1", "2", "3"]


def test_a_sweep_of_before_goes_on_with_a_key_that_nothing_reads(
    program: Program, fake: FakeJobs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.trouble = {"1": "the loss is not finite"}
    unread = ["optim.name=adamw", "optim.momentum=0.5"]
    assert program(*GRID, *unread) == 2
    assert "optim.momentum=0.5 is of optim.name=sgd" in capsys.readouterr().err
    assert program(*GRID, unread[0]) == 1
    plan = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    for words in (plan["command"], plan["overrides"], *plan["jobs"]):
        words.append(unread[1])
    (tmp_path / "sweep" / "sweep.json").write_text(json.dumps(plan))
    for path in (tmp_path / "sweep").glob("*/job.json"):
        job = json.loads(path.read_text())
        path.write_text(json.dumps({**job, "overrides": [*job["overrides"], unread[1]]}))
    fake.trouble, fake.ran = {}, []
    assert program("+resume=sweep") == 0
    assert fake.ran == ["1"]


@pytest.mark.parametrize("wrong", ["+trainer.epocs=3", "trainer.epocs=3"])
def test_a_mistake_of_the_whole_sweep_is_said_once_and_leaves_nothing(
    wrong: str, program: Program, fake: FakeJobs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program(*GRID, wrong) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "'trainer.epochs'" in line
    assert not fake.ran
    assert not list(tmp_path.iterdir())


def test_a_directory_holds_one_sweep(program: Program, fake: FakeJobs, capsys: pytest.CaptureFixture[str]) -> None:
    fake.trouble = {name: UserError("the data are not there") for name in "0123"}
    assert program(*GRID) == 2
    fake.trouble = {}
    assert program(*GRID, "seed=1") == 0  # nothing had begun there
    capsys.readouterr()
    assert program(*GRID, "seed=2") == 2
    assert "holds another sweep" in capsys.readouterr().err
    assert program("-m", *FAST, "hydra.sweep.dir=.") == 2
    assert "already holds runs" in capsys.readouterr().err
    assert program("+resume=sweep", "seed=3") == 2
    assert "leave out seed=3" in capsys.readouterr().err


def test_resuming_makes_the_command_again(tmp_path: Path) -> None:
    given = ["-m", "a=1,2", "hydra/launcher=joblib", "hydra.launcher.n_jobs=4", "hydra.sweep.dir=old"]
    plan = {"command": given, "extend": []}
    root = tmp_path / "it's"
    root.mkdir()
    (root / "sweep.json").write_text(json.dumps(plan))
    moved = f'hydra.sweep.dir="{root}"'
    assert resumed_command([f"+resume={root}"]) == [*given[:-1], moved]
    other = ["hydra/launcher=slurm", "hydra.sweeper.n_trials=9"]
    assert resumed_command([f"+resume={root}", *other]) == ["-m", "a=1,2", *other, moved]
    run = ["+resume=a_run"]
    assert resumed_command(run) == run


def test_the_group_of_wandb_is_the_sweep(program: Program, fake: FakeJobs) -> None:
    wandb = [item for item in FAST if not item.startswith("logger")]
    assert program("-m", *wandb, "thaw.depth=0,1", "hydra.sweep.dir=a_sweep") == 0
    assert program("-m", *wandb, "thaw.depth=0", "logger.group=mine", "hydra.sweep.dir=another") == 0
    assert program("-m", *FAST, "thaw.depth=0", "hydra.sweep.dir=without") == 0
    assert fake.groups == ["a_sweep", "a_sweep", "mine", None]


SEARCH = ["-m", *FAST, "hydra/sweeper=search", "hydra.sweeper.n_trials=4"]


def test_a_search_chooses_by_validation_and_goes_on_where_it_stopped(
    program: Program, fake: FakeJobs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.trouble = {"1": "the loss is not finite"}
    assert program(*SEARCH, "hydra.sweep.dir=whole") == 1  # a failed job is a failed trial
    whole = overrides(tmp_path / "whole")
    assert len({tuple(job) for job in whole}) == 4
    fake.trouble, fake.ran = {"1": "the loss is not finite", "2": KeyboardInterrupt()}, []
    assert program(*SEARCH, "hydra.sweep.dir=stopped") == 130
    fake.trouble, fake.ran = {"1": "the loss is not finite"}, []
    assert program("+resume=stopped") == 1
    assert fake.ran == ["1", "2", "3"]
    assert overrides(tmp_path / "stopped") == whole
    best = OmegaConf.load(tmp_path / "whole" / "optimization_results.yaml")
    figures = [
        json.loads(path.read_text())["selected"]["val_acc"] for path in tmp_path.glob("whole/*/summary.json")
    ]
    assert best.best_value == max(figures)
    fake.trouble, fake.ran = {}, []
    capsys.readouterr()
    assert program("+resume=stopped", "hydra.sweeper.n_trials=6") == 0
    assert fake.ran == ["1", "4", "5"]
    page = (tmp_path / "stopped" / "report.html").read_text()
    assert "6 of 6 jobs are complete" in page
    assert page.count("data:image/png") == 2  # history and parallel coordinates


def test_a_search_whose_jobs_all_fail_ends_in_a_sentence(
    program: Program, fake: FakeJobs, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.trouble = {name: "the loss is not finite" for name in "0123"}
    assert program(*SEARCH, "hydra.sweep.dir=sweep") == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("stopped: 4 of 4 jobs failed")


def test_a_search_needs_a_validation_figure(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    assert program(*SEARCH, "+experiment=continual_digits", "data.val_size=0") == 2
    assert "validation figure" in capsys.readouterr().err
    for given in (["source.val_size=0"], ["adaptation=target_oracle"], ["adaptation=adabn"]):
        assert program(*SEARCH, "+experiment=adapt_digits", *given) == 2
        assert "validation figure" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["hydra.sweeper.n_trials=0"], "hydra.sweeper.n_trials=0 must be at least 1"),
        (["hydra.sweeper.n_jobs=-1"], "hydra.sweeper.n_jobs=-1 must be at least 1"),
        (["hydra.sweeper.direction=minimize"], "a search maximises the validation figure of its runs"),
        (["optim.lr=interval(0.1,0.01)"], "'optim.lr=interval(0.1,0.01)' has nothing between its ends"),
        (["optim.lr=tag(log,interval(0,0.1))"], "has no logarithms: optim.lr would begin at 0"),
        (["thaw.depth=range(5,0,-1)"], "goes by steps of -1"),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=0"], "hydra.launcher.n_jobs=0 is no number of jobs"),
        (["optim.name=adamw", "optim.momentum=interval(0,0.9)"], "is of optim.name=sgd; leave it out"),
        (["+hydra.sweeper.params.seed='interval(0'"], "cannot be understood"),
    ],
)
def test_what_a_search_cannot_be_given(
    given: list[str], sentence: str, program: Program, fake: FakeJobs, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert program(*SEARCH, *given) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert "Traceback" not in said
    assert not fake.ran
    assert not list(tmp_path.iterdir())


def test_the_flag_of_sweeps_may_stand_anywhere(program: Program, fake: FakeJobs) -> None:
    assert program(*FAST, "thaw.depth=0,1", "-m", "seed=3", "hydra.sweep.dir=sweep") == 0
    assert fake.ran == ["0", "1"]


def test_a_grid_needs_a_number_of_jobs_at_once(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    assert program(*GRID, "hydra/launcher=joblib", "hydra.launcher.n_jobs=0") == 2
    assert "give 1 or more, or -1 for as many as there are processors" in capsys.readouterr().err


def test_a_sweep_of_what_one_job_reads_goes_on(
    program: Program, fake: FakeJobs, capsys: pytest.CaptureFixture[str]
) -> None:
    """AdamW reads no momentum: not an error beside SGD's jobs, one where no job reads it."""
    several = ["-m", *FAST, "thaw.depth=1", "optim.momentum=0.5"]
    assert program(*several, "optim.name=adamw", "seed=0,1") == 2
    assert "optim.momentum=0.5 is of optim.name=sgd; leave it out" in capsys.readouterr().err
    swept = [*several[:-1], "optim.name=adamw", "optim.momentum=0.8,0.9"]
    assert program(*swept, "hydra.sweep.dir=none") == 2
    assert "is of optim.name=sgd; leave it out" in capsys.readouterr().err
    assert program(*several, "optim.name=sgd,adamw", "hydra.sweep.dir=one") == 0
    assert fake.ran == ["0", "1"]
    several[-1:] = ["data.crop_padding=0,2", "data.cached_views=4", "optim.momentum=0.5"]
    assert program(*several, "optim.name=sgd,adamw", "hydra.sweep.dir=two") == 0  # no job reads both


def test_a_search_over_what_decides_goes_on(program: Program, fake: FakeJobs) -> None:
    given = ["optim.name=sgd,adamw", "optim.momentum=interval(0,0.9)", "thaw.depth=shuffle(range(1,3))"]
    assert program(*SEARCH, *given) == 0
    assert len(fake.ran) == 4


def test_a_run_is_resumed_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "sweep.json").write_text(json.dumps({"command": ["-m", "a=1,2"], "extend": []}))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("")
    monkeypatch.chdir(tmp_path)
    assert resumed_command(["+resume=typo", "-m"]) == ["+resume=typo", "-m"]  # which is said elsewhere
    for words, sentence in (
        (["+resume=run", "-m"], "-m is of sweeps, and run is one run"),
        (["+resume=run", "--cfg", "job"], "what [+]resume takes up is in run/config.yaml"),
        ([f"+resume={tmp_path / 'sweep'}", "--cfg", "job"], "sweep/sweep.json"),
    ):
        with pytest.raises(UserError, match=sentence):
            resumed_command(words)
    assert "-m" in resumed_command([f"+resume={tmp_path / 'sweep'}", "-m"])


def test_the_figures_of_each_job() -> None:
    assert validation_figure({"job": "finetune", "selected": {"val_acc": 0.5}, "test_acc": 0.9}) == 0.5
    continual = {"job": "continual", "validation": {"final_accuracy": 0.4}, "final_accuracy": 0.3, "test_acc": 0.9}
    assert (validation_figure(continual), reported_figure(continual)) == (0.4, 0.3)
    adapt = {"job": "adapt", "selected": {"acc": 0.9, "target_entropy": 0.3}, "test_acc": 0.7}
    assert validation_figure(adapt) == pytest.approx(0.6)
    assert validation_figure({**adapt, "selected": {"acc": 0.9, "target_entropy": None}}) == 0.9
    for method in ("target_oracle", "fine_tune", "adabn"):  # of which that figure says nothing
        assert validation_figure({**adapt, "method": {"name": method}}) is None
    assert validation_figure({**adapt, "method": {"name": "mmd"}}) == pytest.approx(0.6)
    for without in ({}, {"job": "compare"}, {"job": "continual", "validation": None}):
        assert validation_figure(without) is None


def composed_hydra(arguments: Sequence[str]) -> DictConfig:
    with initialize_config_dir(str(conf_dir().resolve()), version_base="1.3"):
        return compose("config", list(arguments), return_hydra_config=True).hydra


def test_launchers_and_sweepers_compose(tmp_path: Path) -> None:
    slurm = composed_hydra(["hydra/launcher=slurm", "hydra.launcher.partition=gpu"]).launcher
    assert slurm["_target_"].endswith("SlurmLauncher")
    assert slurm.partition == "gpu"
    from submitit.slurm.slurm import _make_sbatch_string

    ours = ("timeout_min", "cpus_per_task", "gpus_per_node", "nodes", "signal_delay_s", "setup", "partition")
    given = OmegaConf.to_container(slurm, resolve=False)
    options = {key.replace("timeout_min", "time"): given[key] for key in ours if key != "tasks_per_node"}
    script = _make_sbatch_string("train", tmp_path, **options)
    for line in (
        "--time=240",
        "--cpus-per-task=4",
        "--partition=gpu",
        "export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK",
    ):
        assert line in script
    assert composed_hydra(["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]).launcher.n_jobs == 2
    search = composed_hydra(["hydra/sweeper=search"]).sweeper
    assert (search.direction, search.sampler.seed, search.n_jobs) == ("maximize", 0, 1)


def test_processors_are_divided_among_the_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("joblib.cpu_count", lambda: 8)
    for count, jobs in ((1, 1), (4, 4), (-1, 8), (-2, 7), (None, 1)):
        assert sweep_job.processes(OmegaConf.create({"launcher": {"n_jobs": count}})) == jobs
    assert sweep_job.processes(OmegaConf.create({"launcher": {}})) == 1


def test_the_time_that_is_left(tmp_path: Path) -> None:
    fake_plan(tmp_path, [[f"seed={seed}"] for seed in range(6)])
    assert sweep_job.time_left(tmp_path, 1) == ""
    for number in range(2):
        fake_job(tmp_path, number, [f"seed={number}"], seconds=120.0 + 60 * number)
    assert sweep_job.time_left(tmp_path, 1) == ", about 10 min left"  # 4 jobs of 2.5 minutes
    assert sweep_job.time_left(tmp_path, 2) == ", about 5 min left"


def test_report_of_no_directory_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["tlcl report", str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        report_main()
    assert stopped.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_pictures_suit_the_keys_that_vary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = {
        "two_numbers": [
            [f"thaw.depth={depth}", f"data.train_size={size}"] for depth in (0, 5) for size in (50, 200)
        ],
        "a_number": [[f"optim.lr={rate}"] for rate in (0.001, 0.01, 0.1)],
        "words": [[f"method={name}"] for name in ("er", "<b>", "slda")],
        "number_and_word": [
            [f"data={name}", f"thaw.depth={depth}"] for name in ("digits", "letters") for depth in (0, 1)
        ],
        "panels": [
            [f"data={name}", f"thaw.depth={depth}", f"data.train_size={size}"]
            for name in ("digits", "letters") for depth in (0, 1) for size in (50, 200)
        ],
        "sparse": [[f"optim.lr={rate / 1000}", f"thaw.depth={rate % 6}", f"seed={rate}"] for rate in range(1, 7)],
    }  # fmt: skip
    drawn: dict[str, list[str]] = {}
    for name, given in kinds.items():
        root = tmp_path / name
        for number, job in enumerate(given):
            fake_job(root, number, job, val=number / 10, test=number / 10)
        fake_plan(root, given)
        monkeypatch.setattr("sys.argv", ["tlcl report", str(root)])
        report_main()
        drawn[name] = sorted(path.stem for path in (root / "plots").glob("*.png"))
        page = (root / "report.html").read_text()
        assert page.count("data:image/png") == len(drawn[name])
        assert "<b>" not in page.replace("<b>0", "")
        assert "http" not in page.replace("http://www.w3.org", "")
    assert drawn == {
        "two_numbers": ["heat_map", "lines"],
        "a_number": ["lines"],
        "words": ["bars"],
        "number_and_word": ["heat_map", "lines"],
        "panels": ["heat_map_0", "heat_map_1", "lines_0", "lines_1"],
        "sparse": ["parallel"],
    }
