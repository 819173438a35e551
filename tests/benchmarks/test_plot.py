"""The plots: axes that hold all points, curves at their places."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import plot

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([10, 1_000_000], [10, 100, 1000, 10_000, 100_000, 1_000_000]),
        ([0.7, 30], [0.1, 1, 10, 100]),
        ([5], [1, 10]),
        ([10], [10, 100]),
    ],
)
def test_a_logarithmic_axis_has_the_powers_of_ten_around_its_values(values: list[float], expected: list[float]) -> None:
    assert plot.decades(values) == pytest.approx(expected)


@pytest.mark.parametrize(("most", "expected"), [(5, 5), (4.2, 5), (1.0, 1), (0.9, 1), (23, 25), (3_100_000, 4_000_000)])
def test_a_linear_axis_begins_at_0_and_ends_at_a_round_number(most: float, expected: float) -> None:
    steps = plot.steps(most)
    assert steps[0] == 0
    assert steps[-1] == pytest.approx(expected)
    assert 2 < len(steps) < 9


@pytest.mark.parametrize("log_up", [False, True])
def test_every_point_is_drawn_between_the_axes(log_up: bool) -> None:
    curves = {"one & two": [(10, 0.5), (1000, 1.0), (1_000_000, 2.0)], "three": [(10, 2.0), (1_000_000, 2.0)]}
    drawn = plot.drawn(title="<t>", across="messages", up="ms", curves=curves, log_up=log_up)
    tree = ElementTree.fromstring(drawn)  # noqa: S314 - made here
    circles = [(float(each.attrib["cx"]), float(each.attrib["cy"])) for each in tree.iter(f"{SVG}circle")]
    assert len(circles) == 5
    assert all(0 < x < plot.WIDTH and 0 < y < plot.HEIGHT for x, y in circles)
    assert [x for x, _ in circles[:3]] == sorted(x for x, _ in circles[:3])
    assert circles[0][1] > circles[1][1] > circles[2][1]  # upwards is less in SVG
    assert circles[3][1] == circles[4][1] == circles[2][1]
    assert {"<t>", "one & two", "three"} <= {text.text for text in tree.iter(f"{SVG}text")}


def test_the_folder_of_a_plot_is_made(tmp_path: Path) -> None:
    file = tmp_path / "images" / "new" / "plot.svg"
    plot.write(file, title="t", across="x", up="y", curves={"c": [(10, 1.0), (100, 2.0)]})
    assert file.read_text().startswith("<svg")
