"""`tlcl export RUN_DIR`: the model of a finished run as an ONNX file, for programs without tlcl or torch.

It takes images as the run stored them, uint8 (N, C, H, W), and gives class probabilities (N, K): resize,
normalisation, softmax and the run's temperature, if it has one, are inside. Names of the classes, size and channels
are in its metadata. It is written only if onnxruntime gives the network's own probabilities to 1e-4; it computes in
full precision, whatever the run's trainer.precision.
"""

from pathlib import Path

from tlcl.commands.parser import command_parser
from tlcl.errors import run_cli
from tlcl.system.figures import counted


def _program() -> None:
    parser = command_parser(__doc__, "runs/finetune_layerwise/DATE --out digits.onnx", "latest")
    parser.add_argument("run_dir", type=Path, help="directory of a finished run, or latest")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: RUN_DIR/model.onnx")
    options = parser.parse_args()
    from tlcl.jobs.export import export_run
    from tlcl.tracking.latest import finished_directory

    done = export_run(finished_directory(options.run_dir), options.out)
    gone = " images; the test images are not to be had any more"
    tested = f" and {counted(done.tested, 'test image')}" if done.tested else gone
    print(f"exported: {done.path}")
    print(f"onnxruntime and the network differ by {done.difference:.1e} at most, on {done.random} random{tested}")
    if done.recorded is not None:
        print(f"it differs by {done.recorded:.1e} at most from what the run recorded of these, in {done.precision}")


def main() -> None:
    """Command line entry."""
    run_cli(_program)


if __name__ == "__main__":
    main()
