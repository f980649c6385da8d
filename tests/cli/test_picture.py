"""The pictures that --plot draws."""

import os
import subprocess
import sys
import xml.etree.ElementTree

import pytest

SHOW = [sys.executable, "-m", "memprobe", "show"]
MB = 2**20
GROWS = [(t, (50 + 2 * t) * MB) for t in range(100)]


def texts_of(path):
    """The texts in an SVG file, in their order."""
    root = xml.etree.ElementTree.parse(path).getroot()
    name = "{http://www.w3.org/2000/svg}text"
    return ["".join(element.itertext()).strip() for element in root.iter(name)]


@pytest.fixture
def draw(tmp_path, record_files):
    """Draw a recorded process by the command, into a file; return its errors."""
    pytest.importorskip("matplotlib")

    def draw(target, samples=GROWS, *, status=0, env=None, **facts):
        folder = tmp_path / "trail"
        folder.mkdir(exist_ok=True)
        facts = {"pid": 7, "command": ["/usr/bin/python3", "app.py", "s3cret"], **facts}
        record_files.write(folder, samples, **facts)
        done = subprocess.run(
            [*SHOW, "--plot", target, str(folder)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            env={**os.environ, **(env or {})},
        )
        assert done.returncode == status, done.stderr
        return done.stderr

    return draw


def test_svg_has_title_axes_peak_and_end(draw, tmp_path):
    assert draw("out.svg") == ""
    texts = texts_of(tmp_path / "out.svg")
    assert {"7 app.py", "time (s)", "RSS (MB)", "0", "50", "100", "200"} <= set(texts)
    assert "peak 248MB at 99.0 s" in texts
    assert "end 248MB" in texts
    assert 5_000 < (tmp_path / "out.svg").stat().st_size < 100_000


def test_a_peak_between_two_samples_is_drawn_and_the_axis_reaches_it(draw, tmp_path):
    draw("out.svg", peak=900 * MB)
    texts = texts_of(tmp_path / "out.svg")
    assert "peak 900MB between two samples" in texts
    assert {"0", "200", "800"} <= set(texts)
    assert "stroke-dasharray" in (tmp_path / "out.svg").read_text()


def test_png_is_large_and_shows_the_curve(draw, tmp_path):
    draw("out.png")
    from matplotlib.image import imread

    picture = imread(tmp_path / "out.png")[:, :, :3] * 255
    assert picture.shape == (750, 1500, 3)
    # The line is blue: from left to right, at the bottom and at the top.
    ys, xs = (picture.round() == (0x25, 0x63, 0xEB)).all(axis=2).nonzero()
    assert xs.max() - xs.min() > 1500 * 0.7
    assert ys.max() - ys.min() > 750 * 0.5
    white = (picture == 255).all(axis=2).mean()
    assert 0.3 < white < 0.95


@pytest.mark.parametrize(
    "settings",
    [
        "svg.fonttype: path\naxes.facecolor: red\n",
        "nonsense\nfont.size: much\n",
        b"\xff\xfe\n",
    ],
    ids=["other", "wrong", "undecodable"],
)
@pytest.mark.parametrize("backend", ["TkAgg", "nonsense"])
def test_the_users_settings_of_matplotlib_are_not_ours(
    draw, tmp_path, settings, backend
):
    if isinstance(settings, str):
        settings = settings.encode()
    (tmp_path / "matplotlibrc").write_bytes(settings)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "matplotlibrc").write_bytes(settings)
    other = tmp_path / "other"
    other.write_bytes(settings)
    env = {"MPLBACKEND": backend, "MPLCONFIGDIR": str(tmp_path / "config")}
    for setting in ({}, {"MATPLOTLIBRC": str(other)}):
        assert draw("out.svg", env={**env, **setting}) == ""
        assert "7 app.py" in texts_of(tmp_path / "out.svg")
        assert "#ff0000" not in (tmp_path / "out.svg").read_text()


def test_a_picture_that_cannot_be_drawn_is_one_line(draw, tmp_path):
    (tmp_path / "matplotlib.py").write_text("raise RuntimeError('no\\nluck')")
    error = draw("out.svg", status=1, env={"PYTHONPATH": str(tmp_path)})
    assert error == "memprobe: cannot draw 'out.svg': no\n"
    error = draw("no/out.svg", status=1)
    assert error.startswith("memprobe: --plot: cannot write 'no/out.svg': No such file")
    if os.path.exists("/dev/full"):
        (tmp_path / "full.svg").symlink_to("/dev/full")
        error = draw("full.svg", status=1)
        assert error.startswith("memprobe: cannot draw 'full.svg': ")
        assert error.count("\n") == 1


def test_without_matplotlib_it_is_said_first(tmp_path):
    code = """
import sys
sys.modules["matplotlib"] = None
from memprobe._cli import main
main()
"""
    result = subprocess.run(
        [sys.executable, "-c", code, "show", "--plot", "out.png", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.stdout == ""
    assert result.returncode == 1
    sentence = "--plot needs matplotlib: pip install 'memprobe-rss[plot]'"
    assert result.stderr == f"memprobe: {sentence}\n"


class TestPlainData:
    """Several series, any time and size."""

    def draw(self, path, *series, title="title"):
        pytest.importorskip("matplotlib")
        from memprobe._cli.picture import Series, plot

        plot(str(path), [Series(*one) for one in series], title)
        return texts_of(path)

    def test_several_series_are_told_apart(self, tmp_path):
        grow = [(i * 60, (100 + i) * MB) for i in range(100)]
        fall = [(i * 60 + 600, (300 - i) * MB) for i in range(100)]
        texts = self.draw(tmp_path / "x.svg", ("17 worker", grow), ("18 beat", fall))
        assert "17 worker: peak 199MB, end 199MB" in texts
        assert "18 beat: peak 300MB, end 201MB" in texts
        assert "time (min)" in texts
        text = (tmp_path / "x.svg").read_text()
        assert "#2563eb" in text
        assert "#d97706" in text

    @pytest.mark.parametrize(
        ("seconds", "name"),
        [(0.1, "ms"), (90, "s"), (3000, "min"), (40_000, "h"), (9e5, "d")],
    )
    @pytest.mark.parametrize(
        ("highest", "unit"), [(900, "b"), (50 * MB, "MB"), (3 * 2**30, "GB")]
    )
    def test_units_follow_the_data(self, tmp_path, seconds, name, highest, unit):
        samples = [(i * seconds / 10, highest * (i + 1) // 11) for i in range(11)]
        texts = self.draw(tmp_path / "x.svg", ("x", samples))
        assert f"time ({name})" in texts
        assert f"RSS ({unit})" in texts

    def test_each_series_has_its_own_known_peak(self, tmp_path):
        one = ("1 a", [(0, 5 * MB), (9, 6 * MB)], 30 * MB)
        texts = self.draw(tmp_path / "x.svg", one, ("2 b", [(0, 9 * MB)]))
        assert "1 a: peak 30MB, end 6MB" in texts
        assert "2 b: peak 9MB, end 9MB" in texts
        assert "30" in texts

    def test_a_single_sample_and_an_odd_title(self, tmp_path):
        title = "a $x^$ \u6f22 <b> & {.py"
        texts = self.draw(tmp_path / "x.svg", ("_", [(0.5, 3 * MB)]), title=title)
        assert title in texts
        assert "end 3MB" in texts

    def test_the_same_data_is_the_same_file(self, tmp_path):
        samples = [(0, MB), (1, 2 * MB)]
        self.draw(tmp_path / "a.svg", ("x", samples))
        self.draw(tmp_path / "b.svg", ("x", samples))
        assert (tmp_path / "a.svg").read_text() == (tmp_path / "b.svg").read_text()
