"""The project's compose files, run as a person does, in a checkout of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Beside what a person may have built and runs.
APART = {"COMPOSE_PROJECT_NAME": "weightwalk-test", "WEIGHTWALK_IMAGE": "weightwalk:test"}
# Whose the checkout is: neither root nor the image's own user.
OWNER = 1234


@dataclass(frozen=True)
class Checkout:
    """A copy of the project's files, with folders `models` and `results` beside them."""

    folder: Path
    variables: dict[str, str] = field(default_factory=lambda: dict(APART))

    @property
    def models(self) -> Path:
        return self.folder / "models"

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def with_variables(self, **variables: str) -> Checkout:
        """Return the same checkout, used with environment variables besides."""
        return Checkout(self.folder, self.variables | variables)

    def compose(
        self, file: str, *arguments: str, tool: str = "docker compose", seconds: int = 600
    ) -> subprocess.CompletedProcess[str]:
        """Run compose with a file of the project, or with several, and return what it did."""
        files = [part for name in file.split() for part in ("-f", f"compose/{name}.yaml")]
        # No person's own settings.
        chosen = {k: v for k, v in os.environ.items() if k not in ("PASSWORD", "PUID", "PGID")}
        return subprocess.run(
            [*tool.split(), *files, *arguments],
            cwd=self.folder,
            env=chosen | self.variables,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def batch(self, *arguments: str, **options: int) -> subprocess.CompletedProcess[str]:
        """Run the batch service and return what it did."""
        return self.compose("batch", "run", "--rm", "-T", "batch", *arguments, **options)


def copy_project(folder: Path) -> None:
    """Copy what the repository would hold; nothing that git ignores."""
    asked = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    for name in subprocess.check_output(asked, cwd=ROOT, text=True).split("\0"):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def docker(*arguments: str) -> str:
    """Run docker and return what it printed."""
    command = ["docker", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    return (done.stdout + done.stderr).strip()
