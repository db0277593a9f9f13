"""Commands about models: which there are, and fetching their weights."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from tqdm import tqdm


def models() -> None:
    """List the models, whether their weights are on this computer, and the systems of the papers."""
    from MSAMLogic import weights
    from MSAMLogic.systems import TAKES_IN_WORDS

    entries = weights.models()
    for entry in entries:
        here = "ready" if weights.is_available(entry) else f"fetch it with: msam download {entry.name}"
        size = f"{entry.size_bytes / 1e6:.0f} MB" if entry.size_bytes else "size not announced"
        typer.echo(f"{entry.name}  ({entry.title}, {entry.architecture}, {size}, {entry.licence})")
        typer.echo(f"    {here}")
        typer.echo(f"    trained on: {entry.trained_on}")
        typer.echo(f"    intended use: {entry.intended_use}")
    typer.echo("\nSystems:")
    for system in weights.systems():
        typer.echo(f"{system.title}  ({system.paper})")
        for network in system.networks:
            typer.echo(f"    network {network.name}: {TAKES_IN_WORDS[network.takes]}")
        networks = {network.name for network in system.networks}
        ready = [entry.name for entry in entries if entry.architecture in networks]
        typer.echo(f"    models: {', '.join(ready) or 'none'}")
        for start in system.starts_from:
            typer.echo(f"    training can start from: {start.file} ({start.source}, {start.licence})")
        typer.echo(f"    {system.to_get_weights}")


def download(name: Annotated[str, typer.Argument(help="A name that 'msam models' lists.")]) -> None:
    """Fetch a model's weights into the cache folder of the user, and check them."""
    from MSAMLogic import weights

    entry = weights.find_model(name)
    with tqdm(
        unit="B", unit_scale=True, unit_divisor=1024, desc=name, disable=not sys.stderr.isatty()
    ) as bar:

        def progress(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        path = weights.download(entry, progress=progress)
    typer.echo(str(path))
