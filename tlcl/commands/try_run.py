"""`tlcl try RUN_DIR`: a page on this machine where an image is dropped and the run's model answers.

It shows the label, the five most probable classes and a heat map of what speaks for the label: the figures of `tlcl
predict` and the map of `tlcl explain`. The page is at 127.0.0.1 alone, needs no network, and keeps no image; Ctrl-C
ends it.
"""

from pathlib import Path

from tlcl.commands.parser import command_parser
from tlcl.errors import UserError, run_cli


def _program() -> None:
    parser = command_parser(__doc__, "latest", "runs/finetune_layerwise/DATE --port 8000")
    parser.add_argument("run_dir", type=Path, help="directory of a finished run, or latest")
    parser.add_argument("--port", type=int, help="default: the first free one from 7860 on")
    options = parser.parse_args()
    if options.port is not None and not 0 < options.port < 2**16:
        raise UserError(f"--port={options.port} must be from 1 to {2**16 - 1}")
    from tlcl.jobs.try_run import open_page
    from tlcl.tracking.latest import finished_directory

    with open_page(finished_directory(options.run_dir), options.port) as page:
        print(f"open {page.origin}/ in a browser on this machine; Ctrl-C ends it", flush=True)
        page.serve_forever()


def main() -> None:
    """Command line entry."""
    run_cli(_program)


if __name__ == "__main__":
    main()
