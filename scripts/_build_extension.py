"""Builds the Blender extension: one zip a platform, with the wheels that Blender lacks inside."""

import argparse
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# Blender's name of a platform and the wheels that run there, newest first. Blender 4.5 and 5.2 need
# glibc 2.28 on Linux; SciPy has nothing for macOS older than 12.
PLATFORMS = {
    "linux-x64": [
        *(f"manylinux_2_{minor}_x86_64" for minor in range(28, 16, -1)),
        "manylinux2014_x86_64",
    ],
    "linux-arm64": [
        *(f"manylinux_2_{minor}_aarch64" for minor in range(28, 16, -1)),
        "manylinux2014_aarch64",
    ],
    "macos-arm64": ["macosx_12_0_arm64", "macosx_11_0_arm64"],
    "windows-x64": ["win_amd64"],
}
# Python inside Blender 4.5 and Blender 5.2.
PYTHONS = ["cp311", "cp313"]
# numpy comes with Blender, and the wheels must fit the one that is there: 1.26 in Blender 4.5.
NUMPY = {"cp311": "numpy<2"}
NUMPY_ELSEWHERE = "numpy>=2.2,<3"
# scikit-image asks for networkx and the next two, gguf for tqdm and requests, which asks for what
# follows; but what Weightwalk uses of the two imports none of them.
LEFT_OUT = {
    *("numpy", "networkx", "imageio", "tifffile"),
    *("tqdm", "colorama", "requests", "certifi", "charset-normalizer", "idna", "urllib3"),
}


def main(argv: list[str] | None = None) -> int:
    """Build what the command line asks for and print it."""
    parser = argparse.ArgumentParser(prog="scripts/build_extension", description=__doc__)
    parser.add_argument(
        "--platform", action="append", choices=PLATFORMS, help="default: all; repeatable"
    )
    parser.add_argument(
        "--python",
        metavar="TAG",
        type=python_tag,
        help="build for this Python only, such as cp314 for Debian's Blender; the zip's name ends"
        " in it (default: cp311 and cp313 in one zip, for Blender 4.5 and 5.2)",
    )
    parser.add_argument(
        "--with-numpy", action="store_true", help="bring numpy, which some Blenders lack"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="default: dist")
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    for platform in options.platform or PLATFORMS:
        path = build(platform, options.python, options.out, with_numpy=options.with_numpy)
        print(f"{path} ({path.stat().st_size / 1e6:.0f} MB)", flush=True)
    return 0


def python_tag(text: str) -> str:
    """Check that `text` names a CPython, such as ``cp314``."""
    if not re.fullmatch(r"cp3\d\d", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not like cp314")
    return text


def build(platform: str, python: str | None, out: Path, *, with_numpy: bool = False) -> Path:
    """Build and validate one zip.

    Parameters
    ----------
    platform : str
        Key of `PLATFORMS`.
    python : str or None
        The one Python tag to build for; None for `PYTHONS`.
    out : Path
        Folder for the zip, whose earlier version is replaced only by a valid one.
    with_numpy : bool
        Whether numpy comes along: Debian's Blender is there also without it.

    Returns
    -------
    Path
    """
    name = "-".join(filter(None, ["weightwalk", PROJECT["version"], platform, python]))
    with tempfile.TemporaryDirectory(dir=out, prefix=".build-") as temporary:
        stage = Path(temporary) / "weightwalk"
        # `python -m` and training are for other Pythons than Blender's.
        ignore = shutil.ignore_patterns(
            "__pycache__", "__main__.py", "training.py", "py.typed", ".*"
        )
        shutil.copytree(ROOT / "blender_addon", stage, ignore=ignore)
        shutil.copy(ROOT / "LICENSE", stage)
        pythons = [python] if python else PYTHONS
        left_out = LEFT_OUT - {"numpy"} if with_numpy else LEFT_OUT
        wheels = download_wheels(platform, pythons, stage / "wheels", left_out)
        manifest = stage / "blender_manifest.toml"
        manifest.write_text(with_wheels(manifest.read_text(), platform, wheels))
        archive = Path(temporary) / f"{name}.zip"
        write_zip(stage, archive)
        validate(archive)
        return archive.replace(out / archive.name)


def download_wheels(
    platform: str, pythons: list[str], folder: Path, left_out: set[str]
) -> list[str]:
    """Download the wheels for one platform into `folder` and return their names, sorted."""
    folder.mkdir()
    all_needed = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["gguf"]
    needed = [d for d in all_needed if wheel_name(d) != "numpy"]
    for python in pythons:
        # A wheel that serves every Python is in the zip once: all take the first one's choice.
        names = [wheel.name for wheel in folder.iterdir()]
        shared = [name for name in names if not re.search(r"-cp\d+-cp\d+-", name)]
        pins = ["==".join(name.split("-")[:2]) for name in shared]
        pip = [sys.executable, "-m", "pip", "download", "-qq", "--only-binary=:all:"]
        target = ["--python-version", python.removeprefix("cp"), "--implementation", "cp"]
        abis = ["--abi", python, "--abi", "abi3", "--abi", "none"]
        tags = [part for tag in PLATFORMS[platform] for part in ("--platform", tag)]
        numpy = NUMPY.get(python, NUMPY_ELSEWHERE)
        where = ["--dest", str(folder)]
        subprocess.run([*pip, *target, *abis, *tags, *where, numpy, *needed, *pins], check=True)
        for wheel in folder.iterdir():
            if wheel_name(wheel.name) in left_out:
                wheel.unlink()
    return sorted(wheel.name for wheel in folder.iterdir())


def wheel_name(text: str) -> str:
    """Return the package's name, normalised, out of a requirement or a wheel's file name."""
    (name,) = re.findall(r"^[A-Za-z0-9_.]+(?:-(?!\d)[A-Za-z0-9_.]+)*", text)
    return re.sub(r"[-_.]+", "-", name).lower()


def with_wheels(manifest: str, platform: str, wheels: list[str]) -> str:
    """Return the manifest's text with the platform and the wheels, before its table."""
    head, table, permissions = manifest.partition("[permissions]")
    lines = [f'platforms = ["{platform}"]', "wheels = ["]
    lines += [f'  "./wheels/{wheel}",' for wheel in wheels]
    return "\n".join([head.rstrip(), "", *lines, "]", "", table + permissions])


def write_zip(folder: Path, archive: Path) -> None:
    """Zip `folder`'s content, the same bytes for the same content; wheels are zips already."""
    with zipfile.ZipFile(archive, "w") as target:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix())
            entry.external_attr = 0o644 << 16
            stored = path.suffix == ".whl"
            entry.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
            target.writestr(entry, path.read_bytes())


def validate(archive: Path) -> None:
    """Have Blender's own validator look at the zip; raises CalledProcessError where it objects."""
    # The tool behind `blender --command extension` runs without Blender. find_spec imports nothing.
    spec = importlib.util.find_spec("bpy")
    if spec is not None and spec.origin is not None:
        tools = Path(spec.origin).parent.glob("*/scripts/addons_core/bl_pkg/cli/blender_ext.py")
        command = [sys.executable, str(next(tools)), "validate", str(archive)]
    else:
        command = ["blender", "--background", "--command", "extension", "validate", str(archive)]
    # Warnings are printed too, so its output is shown only with an objection.
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        print(result.stdout, result.stderr, sep="", file=sys.stderr)
        result.check_returncode()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"Failed: {Path(error.cmd[0]).name} {' '.join(error.cmd[1:4])} ...")
