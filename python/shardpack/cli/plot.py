"""The picture of ``shardpack bench``: what a better ratio costs in speed."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from shardpack.atomic import AtomicFile, is_special
from shardpack.batch import write_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shardpack.cli.bench import Measurement

__all__ = ["pareto_front", "save_plot"]


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Keep the points that no other point beats in both coordinates.

    Args:
        points: Pairs of which larger numbers are better.

    Returns:
        Those worth choosing from, by falling first number.
    """
    front: list[tuple[float, float]] = []
    for point in sorted(set(points), reverse=True):
        if not front or point[1] > front[-1][1]:
            front.append(point)
    return front


def save_plot(
    path: str, measurements: Sequence[Measurement], *, title: str, overwrite: bool = False
) -> None:
    """Draw compression ratio against speed, with the choices that nothing beats joined by a line.

    Args:
        path: The picture to write; its suffix says in which format.
        measurements: What to draw.
        title: Heading of the picture.
        overwrite: Replace an existing file.

    Raises:
        FileExistsError: The file exists and ``overwrite`` is not set.
        ImportError: matplotlib is not installed.
        OSError: The picture cannot be written.
    """
    try:
        # Without pyplot nothing asks for a display.
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError(
            "a plot needs matplotlib: pip install 'shardpack[plot]'", name="matplotlib"
        ) from None
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for name in dict.fromkeys(measured.codec for measured in measurements):
        own = [measured for measured in measurements if measured.codec == name]
        axes.scatter([m.compress_mb_s for m in own], [m.ratio for m in own], label=name, zorder=2)
        for measured in own:
            if measured.level is not None:
                axes.annotate(
                    str(measured.level),
                    (measured.compress_mb_s, measured.ratio),
                    textcoords="offset points",
                    xytext=(4, 4),
                    fontsize="small",
                )
    front = pareto_front([(m.compress_mb_s, m.ratio) for m in measurements])
    axes.plot(
        [speed for speed, _ in front],
        [ratio for _, ratio in front],
        color="grey",
        linewidth=1,
        label="best trade-offs",
        zorder=1,
    )
    axes.set_xscale("log")
    axes.set_xlabel("compression speed, MB/s (original bytes)")
    axes.set_ylabel("ratio, original / stored")
    axes.set_title(title)
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    picture = io.BytesIO()
    figure.savefig(picture, format=os.path.splitext(path)[1][1:] or None, dpi=150)
    if is_special(path):
        with open(path, "wb", buffering=0) as file:
            write_all(file, picture.getbuffer())
        return
    with AtomicFile(path, overwrite=overwrite) as target:
        write_all(target.file, picture.getbuffer())
        target.publish()
