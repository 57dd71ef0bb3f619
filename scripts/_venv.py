"""Makes or refreshes a virtual environment with Weightwalk in it; quick where nothing changed.

Run by the Python that the environment shall have: python scripts/_venv.py FOLDER EXTRAS [PIN ...]
"""

# Standard library only: nothing else is there yet.
import hashlib
import json
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = "{}.{}".format(*sys.version_info)


def package_files() -> list[str]:
    """Return the files of the packages, relative to the checkout."""
    files = [p for folder in ("blender_addon", "batch") for p in (ROOT / folder).rglob("*")]
    return sorted(
        str(p.relative_to(ROOT)) for p in files if p.is_file() and "__pycache__" not in p.parts
    )


def fingerprint(pins: list[str]) -> str:
    """Return a hash of all that an installed environment depends on.

    A strict editable install links each file of the packages, so the list of files belongs to it.
    """
    parts = [(ROOT / "pyproject.toml").read_text(), *package_files(), *pins]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def works(python: Path) -> bool:
    """Tell whether Weightwalk can be imported; not so once the checkout or its Python has moved."""
    try:
        command = [python, "-c", "import weightwalk"]
        return not subprocess.run(command, capture_output=True, check=False).returncode
    except OSError:
        return False


def ensure(folder: Path, extras: set[str], pins: list[str]) -> None:
    """Make `folder` a virtual environment with Weightwalk, linked to this checkout.

    Parameters
    ----------
    folder : Path
    extras : set of str
        Extras of pyproject.toml; those of an earlier call stay.
    pins : list of str
        Requirements that hold in addition, such as ``numpy==1.26.0``.

    Raises
    ------
    subprocess.CalledProcessError
        Where pip fails; it has said why.
    """
    python = folder / "bin" / "python"
    stamp = folder / "weightwalk.json"
    wanted = fingerprint(pins)
    found = json.loads(stamp.read_text()) if stamp.exists() else {"python": None, "extras": []}
    if found["python"] != PYTHON or not works(python):
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, symlinks=True, with_pip=True)
    elif found["fingerprint"] == wanted and extras <= set(found["extras"]):
        return
    else:
        extras = extras | set(found["extras"])
    print(f"Installing into {folder.name} (Python {PYTHON}) ...", flush=True)
    stamp.unlink(missing_ok=True)
    target = f"{ROOT}[{','.join(sorted(extras))}]"
    pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    strict = ["--config-settings", "editable_mode=strict"]
    subprocess.run([*pip, *strict, "--editable", target, *pins], check=True)
    record = {"python": PYTHON, "fingerprint": wanted, "extras": sorted(extras)}
    stamp.write_text(json.dumps(record))


if __name__ == "__main__":
    try:
        ensure(ROOT / sys.argv[1], set(sys.argv[2].split(",")), sys.argv[3:])
    except subprocess.CalledProcessError:
        sys.exit(f"Could not install Weightwalk into {sys.argv[1]}; pip says above why.")
