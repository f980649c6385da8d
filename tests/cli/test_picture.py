"""The pictures that --plot draws."""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree

import pytest

RUN = [sys.executable, "-m", "memprobe", "run"]
MB = 2**20

PROGRAM = """
import mmap, time
time.sleep(0.3)
big = mmap.mmap(-1, 200 << 20)  # not bytes: allocators keep what is freed
for i in range(0, len(big), 4096):
    big[i] = 1
time.sleep(0.3)
big.close()
time.sleep(0.3)
"""


@pytest.fixture
def run(tmp_path):
    def run(code, *options, status=0, env=None):
        (tmp_path / "program.py").write_text(code)
        result = subprocess.run(
            [*RUN, *options, "program.py"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            env={**os.environ, **(env or {})},
        )
        assert result.returncode == status, result.stderr
        return result

    return run


@pytest.fixture
def needs_matplotlib():
    pytest.importorskip("matplotlib")


def texts_of(path):
    """The texts in an SVG file, in their order."""
    root = xml.etree.ElementTree.parse(path).getroot()
    name = "{http://www.w3.org/2000/svg}text"
    return ["".join(element.itertext()).strip() for element in root.iter(name)]


@pytest.mark.usefixtures("needs_matplotlib")
def test_svg_has_title_axes_peak_and_end(run, tmp_path):
    result = run(PROGRAM, "--plot", "out.svg")
    assert "matplotlib" not in result.stderr
    texts = texts_of(tmp_path / "out.svg")
    assert "program.py" in texts
    assert any(re.fullmatch(r"time \((s|ms)\)", text) for text in texts)
    assert "RSS (MB)" in texts
    assert {"0", "50", "100", "150", "200"} <= set(texts)
    peak = next(text for text in texts if text.startswith("peak "))
    size, _, at = re.fullmatch(r"peak ([0-9.]+)(MB) at ([0-9.]+) m?s", peak).groups()
    assert 200 < float(size) < 260
    assert float(at) > 0
    end = next(text for text in texts if text.startswith("end "))
    assert float(re.fullmatch(r"end ([0-9.]+)MB", end).group(1)) < 60
    assert 5_000 < (tmp_path / "out.svg").stat().st_size < 100_000


@pytest.mark.usefixtures("needs_matplotlib")
def test_png_is_large_and_shows_the_curve(run, tmp_path):
    run(PROGRAM, "--plot", "out.png")
    from matplotlib.image import imread

    picture = imread(tmp_path / "out.png")[:, :, :3] * 255
    assert picture.shape == (750, 1500, 3)
    # The line is blue: from left to right, at the bottom and at the top.
    ys, xs = (picture.round() == (0x25, 0x63, 0xEB)).all(axis=2).nonzero()
    assert xs.max() - xs.min() > 1500 * 0.7
    assert ys.max() - ys.min() > 750 * 0.5
    white = (picture == 255).all(axis=2).mean()
    assert 0.3 < white < 0.95


@pytest.mark.usefixtures("needs_matplotlib")
def test_the_program_does_not_notice_matplotlib(run, tmp_path):
    """Nor does what the program does to its process disturb the picture."""
    result = run(
        """
import os, sys
assert not [name for name in sys.modules if name.startswith(("matplotlib", "numpy"))]
os.chdir("/"); os.environ["MPLBACKEND"] = "nonsense"; os.environ["PATH"] = ""
sys.path.clear(); sys.executable = "/nowhere"
sys.modules["matplotlib"] = None
""",
        *("--plot", "out.svg"),
    )
    assert "Error" not in result.stderr
    assert "program.py" in texts_of(tmp_path / "out.svg")


@pytest.mark.usefixtures("needs_matplotlib")
def test_the_users_settings_of_matplotlib_are_not_ours(run, tmp_path):
    (tmp_path / "matplotlibrc").write_text("svg.fonttype: path\naxes.facecolor: red\n")
    run("", "--plot", "out.svg", env={"MPLBACKEND": "TkAgg"})
    assert "program.py" in texts_of(tmp_path / "out.svg")
    assert "#ff0000" not in (tmp_path / "out.svg").read_text()


@pytest.mark.usefixtures("needs_matplotlib")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="other signals")
def test_ctrl_c_still_draws(run, tmp_path):
    import signal

    code = PROGRAM + "raise KeyboardInterrupt"
    result = run(code, "--plot", "out.svg", status=-signal.SIGINT)
    assert result.stderr.count("\nKeyboardInterrupt\n") == 1
    assert "program.py" in texts_of(tmp_path / "out.svg")


@pytest.mark.usefixtures("needs_matplotlib")
def test_a_picture_that_cannot_be_written_is_one_line(run, tmp_path):
    (tmp_path / "folder").mkdir()
    code = "import os; os.rmdir('folder'); print('ran')"
    result = run(code, "--plot", "folder/out.svg")
    assert result.stdout == "ran\n"
    assert result.stderr.splitlines()[-1].startswith("memprobe: cannot draw '")
    assert "Traceback" not in result.stderr


def test_without_matplotlib_it_is_said_before_the_program_runs(tmp_path):
    (tmp_path / "program.py").write_text("print('ran')")
    code = """
import sys
sys.modules["matplotlib"] = None
from memprobe._cli import main
main()
"""
    result = subprocess.run(
        [sys.executable, "-c", code, "run", "--plot", "out.png", "program.py"],
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


@pytest.mark.usefixtures("needs_matplotlib")
class TestPlainData:
    """What show will use: several series, any time and size."""

    def draw(self, path, *series, title="title"):
        from memprobe._cli.picture import plot

        plot(str(path), series, title)
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

    def test_a_peak_among_many_samples_is_drawn(self, tmp_path):
        samples = [(i / 100, 100 * MB + i % 3) for i in range(65_536)]
        samples[40_001] = (400.01, 900 * MB)
        texts = self.draw(tmp_path / "x.svg", ("x", samples))
        assert "peak 900MB at 6 min 40 s" in texts
        assert (tmp_path / "x.svg").stat().st_size < 150_000
        from memprobe._cli.picture import PARTS, _thinned

        kept = _thinned(samples, PARTS)
        assert samples[40_001] in kept
        assert kept[0] == samples[0]
        assert kept[-1] == samples[-1]
        assert [s for s, _ in kept] == sorted(s for s, _ in kept)
        assert len(kept) <= 2 * PARTS + 2

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
