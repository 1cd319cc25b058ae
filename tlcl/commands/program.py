"""The program `tlcl`: a command for each thing to do, whose module is imported when it is called."""

import difflib
import os
import sys
from importlib import import_module

import tlcl
from tlcl.errors import UserError, printable, run_cli
from tlcl.system.command import called

# command -> (module, what it does)
COMMANDS = {
    "train": ("tlcl.train", "fine-tune a network block by block, learn task after task, or adapt to a domain"),
    "depth": ("tlcl.commands.depth", "how many layers to retrain for your own images, each against the head alone"),
    "predict": ("tlcl.commands.predict", "classify your own images with the model of a run"),
    "explain": ("tlcl.commands.explain", "why this class: heat maps, and the training images most alike"),
    "export": ("tlcl.commands.export", "the model of a run as an ONNX file, checked by onnxruntime"),
    "try": ("tlcl.commands.try_run", "a page on this machine: drop an image, see label, confidence and heat map"),
    "distance": ("tlcl.commands.distance", "how far two data sets are apart, and how well a network may transfer"),
    "report": ("tlcl.commands.report", "the report of a sweep, a run, a comparison or a study, drawn anew"),
    "dashboard": ("tlcl.commands.dashboard", "runs beside each other, as one page, or as views in W&B"),
    "study": ("tlcl.commands.study", "all questions on embedded data, one report"),
    "depth-grid": ("tlcl.commands.depth_grid", "how many layers to retrain, by labels and distance of the target"),
    "allow": ("tlcl.extensions", "allow the code of somebody else's run, after you have read it"),
    "config-reference": ("tlcl.config.reference", "every config key with its type, range, default and meaning"),
}
COMPLETION = {"-sc", "--shell-completion"}  # Hydra's flags, by which a shell asks what may stand next


def usage() -> str:
    """The page of `--help`."""
    name = called()
    lines = [f"  {command:<18}{about}" for command, (_, about) in COMMANDS.items()]
    return "\n".join(
        [
            f"usage: {name} COMMAND [ARGUMENTS]",
            "",
            "Fine-tune a pretrained network, see what it forgets, adapt it to a new domain: one run each.",
            "",
            "commands:",
            *lines,
            "",
            f"{name} COMMAND --help says more of one; {name} --version prints the version.",
            f"example: {name} train +experiment=finetune_layerwise",
        ]
    )


def _call(command: str, arguments: list[str]) -> None:
    """Have the command's module do it, which finds in `sys.argv` what it would as a program of its own."""
    sys.argv = [f"{called()} {command}", *arguments]
    import_module(COMMANDS[command][0]).main()


def _complete(arguments: list[str]) -> None:
    """Answer a shell: Hydra knows what may stand after `train`, as for the program `tlcl-train`."""
    program, _, typed = os.environ.get("COMP_LINE", "").lstrip().partition(" ")
    command, space, rest = typed.lstrip().partition(" ")
    if arguments[1:] and arguments[1].startswith("query=") and not (command == "train" and space):
        print("\n".join(COMMANDS if not space else []))
        return
    os.environ["COMP_LINE"] = f"{program} {rest}"
    sys.argv[1:] = arguments
    import_module(COMMANDS["train"][0]).main()


def _program() -> None:
    command, *arguments = sys.argv[1:] or [""]
    if not command:
        print(usage(), file=sys.stderr)
        raise SystemExit(2)
    if command in ("-h", "--help"):
        print(usage())
    elif command == "--version":
        print(f"tlcl {tlcl.__version__}")
    elif command in COMPLETION:
        _complete([command, *arguments])
    elif command == "train" and not COMPLETION.isdisjoint(arguments):
        _complete(arguments)  # a shell completes the first word alone: `tlcl`
    elif command in COMMANDS:
        _call(command, arguments)
    else:
        near = difflib.get_close_matches(command, COMMANDS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(COMMANDS)}"
        raise UserError(f"there is no command '{printable(command)}'; {hint}")


def main() -> None:
    """Command line entry."""
    run_cli(_program)
