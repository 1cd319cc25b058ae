"""`data=domain_stream`: the domains of a folder of domains one after another, a continual learner's tasks."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import torch

from tlcl.config.registry import register
from tlcl.data.image_tensors import ImageTensors, Source, difference
from tlcl.data.sources.class_names import composed
from tlcl.data.sources.domains import DomainsConfig, as_folder, names_of
from tlcl.data.sources.image_folder import ImageFilesConfig, check_labels, decoding_of, load_image_folder, together
from tlcl.errors import UserError


@dataclass
class DomainStreamConfig(ImageFilesConfig):
    root: str = "???"
    domains: list[str] = field(default_factory=list)


def domains_of(config: DomainStreamConfig) -> list[str]:
    """The domains in the order in which they come.

    Raises:
        UserError: fewer than two, one twice, or one that is not there.
    """
    known = list(names_of(Path(config.root).expanduser()))
    domains = [composed(name) for name in config.domains] or known
    for name in domains:
        if name not in known:
            there = ", ".join(known) or "none"
            raise UserError(
                f"data.domains names {name}, which is not in data.root={config.root}; there are: {there}"
            )
        if domains.count(name) > 1:
            raise UserError(f"data.domains names {name} twice; name each domain once")
    if len(domains) < 2:
        given = f"data.domains={list(config.domains)}" if config.domains else f"data.root={config.root}"
        raise UserError(f"data=domain_stream needs two domains at least; {given} has {len(domains)}")
    return domains


@register("data", "domain_stream", DomainStreamConfig)
def load_domain_stream(config: DomainStreamConfig, cache_dir: str | Path) -> Source:
    """All domains' images, with a class for each pair of a domain and a class, `DOMAIN/CLASS`.

    Of each domain `test_fraction` is held out for the test, as `data=domains` does it.

    Raises:
        UserError: the domains have different classes.
    """
    check_labels(config)
    shared = {one.name: getattr(config, one.name) for one in fields(ImageFilesConfig)}
    domains = domains_of(config)
    parts: list[Source] = []
    for name in domains:
        try:
            one = DomainsConfig(**shared, root=config.root, domain=name)
            parts.append(load_image_folder(as_folder(one), cache_dir))
        except UserError as error:
            raise UserError(f"the domain {name}: {error}; data.domains=[...] names those that are meant") from None
    for name, part in zip(domains, parts, strict=True):
        if part.pool.classes != parts[0].pool.classes:
            there = difference(domains[0], parts[0].pool.classes, name, part.pool.classes)
            raise UserError(f"the domains of a stream have the same classes; here they differ: {there}")
    pool, test = (
        _joined([getattr(part, side) for part in parts], domains, config, cache_dir) for side in ("pool", "test")
    )
    return Source(pool, test, sum(part.skipped for part in parts), parts[0].test_origin, domains=tuple(domains))


def _joined(
    parts: Sequence[ImageTensors], domains: Sequence[str], config: DomainStreamConfig, cache_dir: str | Path
) -> ImageTensors:
    """The images of the domains, one after another, with classes of their own."""
    classes = tuple(
        f"{domain}/{name}" for domain, part in zip(domains, parts, strict=True) for name in part.classes
    )
    names = tuple(f"{domain}/{name}" for domain, part in zip(domains, parts, strict=True) for name in part.names)
    whole = together(parts, names, decoding_of(config, cache_dir))
    first = torch.cat([torch.full((len(part),), number * len(part.classes)) for number, part in enumerate(parts)])
    return replace(whole, labels=whole.labels + first, classes=classes)
