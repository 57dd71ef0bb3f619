"""Job files: what they ask for, and where in them a mistake is."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from weightwalk.batch.cli import _parser
from weightwalk.batch.jobs import Commands, read_jobs, slug_of
from weightwalk.batch.toml_lines import Toml
from weightwalk.core.errors import SettingsError


def commands(blender=False, **defaults):
    (choices,) = (a.choices for a in _parser()._actions if isinstance(a.choices, dict))
    return Commands(choices["mesh"], choices["animate"], defaults, blender)


@pytest.fixture
def read(tmp_path):
    """Return a function that reads a job file of that content."""

    def read(text, given=None):
        path = tmp_path / "jobs.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_jobs(path, given or commands())

    return read


def test_a_model_is_a_job_for_each_density(read, tmp_path):
    jobs = read("""
        title = "Little ones"
        [defaults]
        faces = [5000, 20000]
        tensors = ["*q*", "*k*"]
        [[model]]
        path = "models/a b"
        about = "First."
        link = "https://example.org/a"
        flow = ["probes/*.safetensors"]
        [[model]]
        path = "/models/x"
        name = "Zweites Modell, größer"
        level = 2
        layers = "0-3"
        magnitude = true
        tensors = "*v*"
        [[series]]
        path = ["runs/-1", "-r"]
        view = "relief"
    """)
    assert (jobs.title, jobs.base) == ("Little ones", tmp_path)
    first, second, series = jobs.wanted
    assert [job.folder for job in first.jobs] == [
        "a-b/faces-5000", "a-b/faces-20000", "a-b/flow",
    ]  # fmt: skip
    assert first.jobs[1].label == "20,000 faces a tensor"
    assert first.jobs[1].options == (
        "--glb-compression=quantize", "--export=glb,stl", "--tensors=*q*", "--tensors=*k*",
        "--faces=20000", "--name=a-b-faces-20000",
    )  # fmt: skip
    assert (first.name, first.about, first.link) == ("a b", "First.", "https://example.org/a")
    assert first.jobs[2].sources == ("probes/*.safetensors",)
    (job,) = second.jobs
    assert (second.slug, job.part, job.label) == (
        "zweites-modell-grosser",
        "level-2.0",
        "level 2 σ",
    )
    assert {"--layers=0-3", "--magnitude", "--tensors=*v*", "--level=2"} < set(job.options)
    # No path is taken for an option.
    assert series.jobs[0].sources == ("runs/-1", "./-r")
    assert series.jobs[0].folder.endswith("/run")


def test_what_the_machine_can_make_and_the_command_line_decide_what_is_not_said(read):
    text = '[[model]]\npath = "a"\n[[model]]\npath = "b"\nmax-stl-mb = 3\nexport = "stl"'
    a, b = read(text, commands(True, **{"max-stl-mb": 50})).wanted
    assert {"--export=glb,stl,png,blend", "--max-stl-mb=50"} < set(a.jobs[0].options)
    assert {"--export=stl", "--max-stl-mb=3"} < set(b.jobs[0].options)
    # The budget that holds where none is said has its name, too.
    assert a.jobs[0].part == "faces-20000"
    (volume,) = read('[[model]]\npath = "a"\nfield = "depth"').wanted
    assert volume.jobs[0].part == "faces-200000"
    assert volume.jobs[0].label == "200,000 faces a field"


def test_a_new_option_is_a_new_key(read):
    given = commands()
    given.mesh.add_argument("--sparkle", type=int)
    (model,) = read('[[model]]\npath = "a"\nsparkle = 3', given).wanted
    assert "--sparkle=3" in model.jobs[0].options


MODEL = '[[model]]\npath = "a"\n'


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('titel = "x"\n' + MODEL, 1, "'titel'"),
        (MODEL + "\nfacess = [1]", 4, "[[model]] 1: unknown key 'facess'; did you mean 'faces'"),
        (MODEL + MODEL.replace('"a"', '"b"') + "\n# c\ncolour = 1", 7, "[[model]] 2: unknown key"),
        ("[defaults]\nmodel = 1\n" + MODEL, 2, "[defaults]: unknown key 'model'"),
        ('[defaults]\npath = "x"\n' + MODEL, 2, "unknown key 'path'"),
        ('[defaults]\nflow = "x"\n' + MODEL, 2, "unknown key 'flow'"),
        (MODEL + 'faces = "many"', 3, "faces: 'many' is not a whole number"),
        (MODEL + "faces = [500, true]", 3, "faces: true is not a whole number"),
        (MODEL + "faces = [\n500,\n3]", 3, "faces: 3 is not between"),
        (MODEL + "faces = []", 3, "empty"),
        (MODEL + "faces = [500, 0x1f4]", 3, "faces: 500 is there twice"),
        (MODEL + "faces = 0x" + "f" * 9000, 3, "too large"),
        (MODEL + "faces = 500\nlevel = 2", 4, "faces and level exclude one another"),
        (MODEL + "level = nan", 3, "level: nan"),
        (MODEL + "magnitude = 1", 3, "magnitude: 1 is not true or false"),
        (MODEL + "tensors = [1]", 3, "tensors: 1 is not a text"),
        (MODEL + 'colors = "red"', 3, "invalid choice: 'red'"),
        (MODEL + 'export = ["obj"]', 3, "'obj' is not one of"),
        (MODEL + 'layers = "5-2"', 3, "layers: 5-2"),
        (MODEL + 'out = "x"', 3, "'out' cannot be set here"),
        (MODEL + 'glb-compression = "draco"', 3, "quantize"),
        (MODEL + 'link = "javascript:alert(1)"', 3, "link"),
        (MODEL + 'link = "https://"', 3, "link"),
        (MODEL + "name = 3", 3, "name: this is not a text"),
        (MODEL + 'field = "depth"\nrows = 1', 4, "rows: 1"),
        ("\n[[model]]\n", 2, "'path' is missing"),
        ('[[model]]\npath = " "', 2, "not a path"),
        ('[[model]]\npath = "a\\u0000b"', 2, "not a path"),
        ('[[model]]\npath = ["a"]', 2, "not a path"),
        (MODEL + "flow = []", 3, "flow: the list is empty"),
        ('[[model]]\npath="x/m"\n[[model]]\npath="y/m"', 3, "the name 'm' is taken in line 1"),
        ('model = [{path="x/m"},\n\n{path="y/m"}]', 1, "the name 'm' is taken"),
        ('[model]\npath = "a"', 1, "[[model]], with two brackets"),
        ('[[series]]\npath = "a"\nfollow = true', 3, "'follow' cannot be set here"),
        ('[[series]]\npath = "a"\nview = "relief"\nfaces = 500', 3, "a relief is not cut"),
        ('[defaults]\ncolors = "red"\n' + MODEL, 2, "[defaults]: colors: invalid choice"),
        ("defaults = 3", 1, "[defaults]"),
        ('s = """\na\n"""\n' + MODEL, 1, "'s'"),
    ],
)
def test_a_mistake_is_told_with_line_table_and_key(read, text, line, words):
    with pytest.raises(SettingsError) as told:
        read(text)
    assert f"jobs.toml, line {line}: " in str(told.value)
    assert words in str(told.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no [[model]]"),
        (b"a = ", "not TOML"),
        (b"\xff\xfe", "not UTF-8"),
        (b"a = " + b"[" * 5000 + b"]" * 5000, "nested too deeply"),
        (b"a = " + b"1" * 5000, "not TOML"),
        (b"#" * (2 << 20), "larger than 1 MiB"),
        (b"a = 1\r\n[[model\r\n", "line 2"),
    ],
)
def test_what_is_no_job_file_is_said_in_a_sentence(read, content, words):
    with pytest.raises(SettingsError, match=r"jobs\.toml: ") as told:
        read(content)
    assert words in str(told.value)


def test_a_missing_job_file_and_a_folder_are_said(tmp_path):
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(SettingsError, match="cannot be read"):
            read_jobs(path, commands())


STATEMENTS = [
    'a = "]#\\""', "b = ']'",
    'c = """\n"x]\\\n"""""', "d = '''\n[[x]]\n# '' '''", "e = [ # ]\n1,\n]",
    "f = {x = '}'}", '"g#]" = 1', "# h = [", "", "i.j.k = 2", "l = 1979-05-27T07:32:00Z",
]  # fmt: skip


@given(st.permutations(STATEMENTS), st.sampled_from(["\n", "\r\n"]))
def test_lines_are_those_on_which_keys_begin(tmp_path_factory, statements, newline):
    path = tmp_path_factory.getbasetemp() / "lines.toml"
    text = "\n".join(statements).replace("\n", newline)
    path.write_bytes(text.encode())
    toml = Toml(path)
    for key in toml.content:
        line = toml.line([key])
        begins = text.split("\n")[line - 1]
        assert begins.replace('"', "").startswith(key), (key, line)


def test_a_huge_job_file_is_searched_quickly(tmp_path):
    path = tmp_path / "jobs.toml"
    long = "[\n" + "1,\n" * 60_000 + "]"
    path.write_text(f"a = {long}\n" + "".join(f'[[model]]\npath = "m{i}"\n' for i in range(9000)))
    assert Toml(path).line(["model", 8000, "path"]) == 60_002 + 2 * 8001


def test_slugs_are_safe_unique_and_never_empty():
    taken: set[str] = set()
    names = ["MiniLM L6", "minilm-l6", "層", "../..", "assets", "CON", "é" * 500, "", "a" * 500]
    slugs = []
    for name in names:
        slugs.append(slug_of(name, taken))
        taken.add(slugs[-1])
    assert slugs[:6] == [
        "minilm-l6",
        "minilm-l6-2",
        "model",
        "model-2",
        "model-assets",
        "model-con",
    ]
    assert len(taken) == len(names)
    assert all(len(slug) < 64 and slug.strip("-") == slug for slug in slugs)


def test_the_example_in_the_documentation_can_be_read():
    root = Path(__file__).resolve().parents[2]
    jobs = read_jobs(root / "docs" / "jobs.toml", commands(True))
    folders = [job.folder for wanted in jobs.wanted for job in wanted.jobs]
    assert folders == [
        "all-minilm-l6-v2/faces-5000",
        "all-minilm-l6-v2/faces-20000",
        "minilm-s-attention-outputs/quantile-0.93",
    ]
