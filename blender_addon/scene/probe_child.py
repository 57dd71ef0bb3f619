"""Run by `probe` in its own process: a model is given prompts, and what it puts out is a file.

It is run by its path, and finds the package by a path in the job's file: an extension of Blender
has another name than the package.
"""

import json
import site
import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

NAME = "weightwalk"


def main(job: str) -> None:
    """Do what a file says: see `probe.probe_apart_steps`."""
    given = json.loads(Path(job).read_text(encoding="utf-8"))
    for folder in given["sites"]:
        site.addsitedir(folder)
    _load(Path(given["package"]))
    errors = import_module(f"{NAME}.core.errors")
    said = Path(given["said"])
    try:
        _probe(given)
    except errors.WeightwalkError as error:
        said.write_text(str(error), encoding="utf-8", errors="backslashreplace")
    except MemoryError:
        said.write_text("there is not enough memory for this", encoding="utf-8")


def _load(folder: Path) -> None:
    """Make the package in a folder known by a name of its own; all its imports are relative."""
    spec = spec_from_file_location(
        NAME, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None
    package = module_from_spec(spec)
    sys.modules[NAME] = package
    spec.loader.exec_module(package)


def _probe(given: dict) -> None:
    probing = import_module(f"{NAME}.probing")
    flow = import_module(f"{NAME}.core.flow.probe")
    settings = import_module(f"{NAME}.core.flow.settings").ProbeSettings(
        model=Path(given["model"]),
        prompts=tuple(given["prompts"]),
        token=given["token"],
        outputs=tuple(given["outputs"]),
    )
    work = probing.probe_steps(settings)
    far = Path(given["far"])
    while True:
        try:
            now = next(work)
        except StopIteration as end:
            flow.write_probe(Path(given["out"]), end.value)
            return
        beside = far.with_suffix(".new")
        beside.write_text(json.dumps([now.stage, now.done, now.total, now.what]), encoding="utf-8")
        beside.replace(far)


if __name__ == "__main__":
    main(sys.argv[-1])
