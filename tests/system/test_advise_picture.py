"""The SVG of `myriad advise --explain`, read back: nothing overlaps, every text stays inside, the way shows without colour."""
import itertools
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest

SVG = "{http://www.w3.org/2000/svg}"
# Advance widths of DejaVu Sans for ' ' to '~' in thousandths of the font size; bold is at most a sixth wider.
WIDTHS = [318, 401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361, 318, 337] + [636] * 10 + [337, 337, 838, 838, 838, 531,
          1000, 684, 686, 698, 770, 632, 575, 775, 752, 295, 295, 656, 557, 863, 748, 787, 603, 787, 695, 635, 611, 732, 684, 989, 685, 611,
          685, 390, 337, 390, 838, 500, 500, 613, 635, 550, 635, 615, 352, 635, 634, 278, 278, 579, 278, 974, 634, 612, 635, 635, 411, 521,
          392, 634, 592, 818, 592, 592, 525, 636, 337, 636, 838]
WAYS = [
    ["nightly", "4h", "large", "low", "little", "one-machine"], ["on-demand", "100ms", "one", "low", "much", "redundant"],
    ["stream", "5m", "small", "low", "much", "kubernetes"], ["on-demand", "30s", "large", "low", "little", "none"],
    ["on-demand", "10m", "small", "low", "very-much", "one-machine"], ["hourly", "1s", "one", "high", "gpu", "device"],
]


def draw(myriad, way, *more):
    names = ["how-often", "how-soon", "batch-size", "latency", "compute", "operation"]
    words = [f"--{name}={value}" for name, value in zip(names, way)]
    myriad.run("advise", *words, "--explain", "way.svg", *more)
    return ElementTree.parse(myriad.cwd / "way.svg").getroot()


def width(text, size, bold):
    return sum(WIDTHS[ord(c) - 32] if " " <= c <= "~" else 1100 for c in text) / 1000 * size * (7 / 6 if bold else 1)


def rect_of(node):
    x, y = float(node.get("x", 0)), float(node.get("y", 0))
    return x, y, x + float(node.get("width")), y + float(node.get("height"))


def text_of(node):
    size = float(node.get("font-size"))
    x, y = float(node.get("x")), float(node.get("y"))
    return x, y - 0.76 * size, x + width(node.text, size, node.get("font-weight") == "bold"), y + 0.24 * size


def meet(a, b):
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def inside(a, b):
    return a[0] >= b[0] and a[1] >= b[1] and a[2] <= b[2] and a[3] <= b[3]


def segments(node):
    x, y, elbow, down, end = map(float, re.fullmatch(r"M(\S+) (\S+) H(\S+) V(\S+) H(\S+)", node.get("d")).groups())
    return [(x, y, elbow, y), (elbow, min(y, down), elbow, max(y, down)), (elbow, down, end, down)]


def check_geometry(svg):
    page, *boxes = svg.iter(f"{SVG}rect")
    panels = [rect_of(b) for b in boxes if b.get("class") == "panel"]
    boxes = [rect_of(b) for b in boxes if b.get("class") != "panel"]
    texts = [(t.text, text_of(t)) for t in svg.iter(f"{SVG}text")]
    edges = [s for p in svg.iter(f"{SVG}path") if p.get("class") == "edge" for s in segments(p)]
    assert len(boxes) > 40 and len(texts) > 80 and len(edges) == 3 * (len(boxes) - 2)
    for one in boxes + panels + [t for _, t in texts]:
        assert inside(one, rect_of(page)), one
    for a, b in itertools.combinations(boxes + panels, 2):
        assert not meet(a, b), (a, b)
    for (text, a), (other, b) in itertools.combinations(texts, 2):
        assert not meet(a, b), (text, other)
    for text, where in texts:
        touched = [b for b in boxes + panels if meet(where, b)]
        assert all(inside(where, b) for b in touched) and len(touched) <= 1, (text, where, touched)
        assert not [s for s in edges if meet(where, (s[0], s[1] - 1, s[2] + 0.1, s[3] + 1))], text
    for box in boxes + panels:
        assert [t for t in texts if inside(t[1], box)], f"no text in {box}"
    for x0, y0, x1, y1 in edges:  # lines end at boxes and cross none
        assert not [b for b in boxes if meet((x0 + 1, y0, x1 - 1, y1 + 0.1), b) and x1 - x0 > 2], (x0, y0, x1, y1)
        assert x1 - x0 > 2 or not [b for b in boxes if meet((x0, y0, x1 + 0.1, y1), b)]


@pytest.mark.parametrize("way", WAYS, ids=["-".join(w[:2]) + "-" + w[5] for w in WAYS])
def test_nothing_overlaps(myriad, way):
    check_geometry(draw(myriad, way))


@pytest.mark.parametrize("kind,attribute,by", [("rect", "y", 60), ("rect", "x", 20), ("text", "x", 150), ("text", "y", -20), ("text", "font-size", 12)])
def test_the_check_itself_can_fail(myriad, kind, attribute, by):
    svg = draw(myriad, WAYS[0])
    if kind == "rect":
        node = next(r for r in svg.iter(f"{SVG}rect") if r.get("class") == "took")
    else:
        node = next(t for t in svg.iter(f"{SVG}text") if t.text.startswith("How soon"))
    node.set(attribute, str(float(node.get(attribute)) + by))
    with pytest.raises(AssertionError):
        check_geometry(svg)


def test_the_way_shows_without_colour(myriad):
    svg = draw(myriad, WAYS[1])
    answer = myriad.json("advise", *[f"--{n}={v}" for n, v in zip(["how-often", "how-soon", "batch-size", "latency", "compute", "operation"], WAYS[1])])
    steps = len(answer["first"]["path"]) + len(answer["second"]["path"])
    took = [r for r in svg.iter(f"{SVG}rect") if r.get("class") == "took"]
    ticks = [p for p in svg.iter(f"{SVG}path") if p.get("class") == "tick"]
    assert len(took) == len(ticks) == steps + 2  # a box per question and the two ends
    assert all(float(r.get("stroke-width")) >= 4 and not r.get("stroke-dasharray") for r in took)
    others = [r for r in svg.iter(f"{SVG}rect") if r.get("class") is None]
    assert all(float(r.get("stroke-width")) < 2 and r.get("stroke-dasharray") for r in others)
    thick = [p for p in svg.iter(f"{SVG}path") if p.get("class") == "edge" and float(p.get("stroke-width")) >= 4]
    assert len(thick) == steps
    words = " ".join(t.text for t in svg.iter(f"{SVG}text"))
    assert "thick lines and ticks" in words and "not a copy" in words


def test_long_words_of_ones_own(myriad):
    """Texts at their limits, long words, wide letters, other scripts and markup: still nothing overlaps."""
    trees = myriad.run("advise", "--print", "trees").stdout
    trees = re.sub(r"title: Streaming$", 'title: "' + "W" * 80 + '"', trees, flags=re.M)
    trees = re.sub(r"title: Batch$", 'title: "<b>&amp; ' + "\u4e2d\u6587" * 10 + '"', trees, flags=re.M)
    trees = re.sub(r"ask: How soon are.*$", 'ask: "' + "mmmm wwww " * 23 + '"', trees, flags=re.M)
    trees = trees.replace("very-much", "w" * 32)
    (myriad.cwd / "mine.yaml").write_text(trees)
    svg = draw(myriad, WAYS[0], "--trees", "mine.yaml")
    check_geometry(svg)
    assert any("<b>&amp;" in (t.text or "") for t in svg.iter(f"{SVG}text"))


def test_it_can_be_rendered(myriad):
    if not shutil.which("rsvg-convert"):
        pytest.skip("rsvg-convert is not installed (librsvg2-bin)")
    draw(myriad, WAYS[2])
    done = subprocess.run(["rsvg-convert", "way.svg", "-o", "way.png"], cwd=myriad.cwd, capture_output=True, text=True)
    assert done.returncode == 0 and (myriad.cwd / "way.png").stat().st_size > 20000
