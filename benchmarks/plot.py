"""A small plot in SVG: curves over a logarithmic axis, for what grows."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 640, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 150, 40, 50
_COLOURS = ("#0b5fa5", "#c2410c", "#15803d", "#7e22ce", "#a16207", "#0f766e")
_STYLE = "text{font:12px sans-serif;fill:#222}.title{font-size:14px;font-weight:bold}"


def write(file: Path, *, title: str, across: str, up: str, curves: Mapping[str, Points], log_up: bool = False) -> None:
    """Curves by name, points in order; `across` is logarithmic, `up` begins at 0 where it is not. Makes the folder."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(drawn(title=title, across=across, up=up, curves=curves, log_up=log_up), encoding="utf-8")


def drawn(*, title: str, across: str, up: str, curves: Mapping[str, Points], log_up: bool = False) -> str:
    points = [point for curve in curves.values() for point in curve]
    xs = decades([x for x, _ in points])
    ys = decades([y for _, y in points]) if log_up else steps(max(y for _, y in points))
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT

    def at(x: float, y: float) -> tuple[float, float]:
        share_x = _share(math.log(x), math.log(xs[0]), math.log(xs[-1]))
        share_y = _share(math.log(y), math.log(ys[0]), math.log(ys[-1])) if log_up else _share(y, ys[0], ys[-1])
        return _LEFT + share_x * (right - _LEFT), bottom - share_y * (bottom - _TOP)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"><style>{_STYLE}</style>']
    parts.append(f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>')
    parts.append(f'<text class="title" x="{_LEFT}" y="20">{escape(title)}</text>')
    parts.append(f'<text x="{(_LEFT + right) / 2}" y="{HEIGHT - 12}" text-anchor="middle">{escape(across)}</text>')
    parts.append(f'<text transform="translate(16 {bottom}) rotate(-90)">{escape(up)}</text>')
    for y in ys:
        height = at(xs[0], y)[1]
        parts.append(f'<path d="M{_LEFT} {height:.1f}H{right}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{height + 4:.1f}" text-anchor="end">{y:,.10g}</text>')
    for x in xs:
        place = at(x, ys[0])[0]
        parts.append(f'<text x="{place:.1f}" y="{bottom + 18}" text-anchor="middle">{x:,.0f}</text>')
    for number, (name, curve) in enumerate(curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        places = [at(x, y) for x, y in curve]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        parts.append(f'<text x="{right + 10}" y="{_TOP + 18 * number}" style="fill:{colour}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def decades(values: Sequence[float]) -> list[float]:
    """Powers of ten that all of these lie between; two at least."""
    first, last = math.floor(math.log10(min(values)) + 1e-9), math.ceil(math.log10(max(values)) - 1e-9)
    return [10.0**power for power in range(first, max(last, first + 1) + 1)]


def steps(most: float) -> list[float]:
    """Round numbers from 0 up to one that is no less than `most`."""
    rough = most / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * times for times in (1, 2, 5, 10) if power * times >= rough * (1 - 1e-9))
    return [step * number for number in range(math.ceil(most / step - 1e-9) + 1)]


def _share(value: float, first: float, last: float) -> float:
    return (value - first) / (last - first)
