"""`tlcl depth-grid`: how many layers are worth retraining, by the number of labels and by how far the target is.

Every freeze depth x every number of labelled images x every target, several seeds each, starting from the network
pretrained on letters. The targets are handwritten digits as they are, inverted and noisy, and with --images a
folder of your own. How far each is from the letters is measured on that network's features, as by tlcl distance.
One report with the table, the figures and what they say; the same command resumes a grid that was stopped.
"""


from tlcl.commands.parser import add_plan_options, command_parser
from tlcl.errors import run_cli


def _program() -> None:
    parser = command_parser(__doc__, "--images flowers=PATH --sizes 50 200 --seeds 0 1 2")
    add_plan_options(parser, "runs/depth_grid")
    parser.add_argument("--images", action="append", default=[], metavar="NAME=PATH", help="one more target")
    sizes, seeds = "labelled images (default 50 200 1000)", "of each cell (default 0 1 2)"
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 200, 1000], metavar="N", help=sizes)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N", help=seeds)
    options = parser.parse_args()
    from tlcl.sweeps.depth_grid_plan import EMBEDDED, depth_grid, own_target

    targets = [*EMBEDDED, *map(own_target, options.images)]
    print(f"report: {depth_grid(options.out, targets, options.sizes, options.seeds, options.jobs)}")


def main() -> None:
    """Command line entry."""
    run_cli(_program)


if __name__ == "__main__":
    main()
