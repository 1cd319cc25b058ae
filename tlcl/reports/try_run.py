"""The page of `tlcl try`, and what it shows of an image."""

from dataclasses import dataclass

from tlcl.reports.page import pages


@dataclass(frozen=True)
class Answer:
    """What a run says of one image.

    Attributes:
        ranked: (class, probability) of the most probable classes, the answer first.
        picture: address of the image as it was cropped.
        heat: address of the heat map over it; None where the network makes none.
        empty: whether nothing in the image speaks for the class.
    """

    ranked: list[tuple[str, float]]
    picture: str
    heat: str | None
    empty: bool


def page_html(run: str, classes: tuple[str, ...], about_maps: str, nonce: str) -> str:
    """The page on which an image is dropped.

    Args:
        run: its directory.
        about_maps: what the maps are of, or why there are none.
        nonce: of its script.
    """
    context = {"run": run, "classes": classes, "about_maps": about_maps, "nonce": nonce}
    return pages().get_template("try.html.j2").render(context)


def answer_html(answer: Answer) -> str:
    """The part of the page that answers."""
    return pages().get_template("try_answer.html.j2").render(answer=answer)


def problem_html(sentence: str) -> str:
    """The same for a file that is no image."""
    return pages().get_template("try_answer.html.j2").render(problem=sentence)
