"""`tlcl study`: how much to retrain, what is forgotten and what helps, on the embedded data, in one report.

Four parts: layer-wise fine-tuning; a grid of freeze depths and data-set sizes; continual-learning methods side by
side; methods of domain adaptation side by side. About 17 minutes on two CPU cores (AMD EPYC). Each run has a
directory of its own below OUT; the same command resumes a study that was stopped.
"""


from tlcl.commands.parser import add_plan_options, command_parser
from tlcl.errors import run_cli


def _program() -> None:
    parser = command_parser(__doc__, "--quick --out runs/first_study")
    add_plan_options(parser, "runs/study")
    parser.add_argument("--quick", action="store_true", help="less of everything, to see that it works")
    options = parser.parse_args()
    from tlcl.sweeps.study_plan import FULL, QUICK, study

    print(f"report: {study(options.out, QUICK if options.quick else FULL, options.jobs)}")


def main() -> None:
    """Command line entry."""
    run_cli(_program)


if __name__ == "__main__":
    main()
