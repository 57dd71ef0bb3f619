"""Which fields a series has at each of its steps, and what comes, goes or changes shape."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from .change import Change
from .errors import CheckpointError, SelectionError
from .fields import Plan
from .plans import Skip, make_plans, select, whole
from .pooling import Moments, matrix_shape
from .readers import Checkpoint, Tensor, open_checkpoint, printable
from .series import Step
from .settings import AnimationSettings, Selection
from .snapshot import pooled_notes

# A tensor is the same at two steps where name and shape are.
Key = tuple[str, tuple[int, ...]]


_NO_SIGN = "was pooled by rms when it was saved, and a change of that has no sign"


def key_of(tensor: Tensor) -> Key:
    """Return what makes a tensor the same at all steps."""
    return tensor.name, tensor.shape


@dataclass(frozen=True)
class Take:
    """What one step has to show.

    Attributes
    ----------
    step : Step
    stamp : str
        `Checkpoint.stamp` of its files.
    plans : dict of str to Plan
        By names that are the same at all steps; of changes where those are asked for.
    tensors : dict of Key to Tensor
        The selected tensors themselves, in the file's order.
    whole : mapping of str to Moments
        Of tensors that were pooled when they were saved: those of the whole.
    grids : frozenset of str
        How they were pooled.
    """

    step: Step
    stamp: str
    plans: dict[str, Plan]
    tensors: dict[Key, Tensor]
    whole: Mapping[str, Moments] = field(default_factory=dict)
    grids: frozenset[str] = frozenset()


class Names:
    """Gives fields names that are the same at all steps, and others where they are not the same.

    Parameters
    ----------
    known : iterable of (str, shape, planes)
        Of fields of earlier steps.
    """

    def __init__(self, known: Iterable[tuple[str, tuple[int, ...], tuple[str, ...]]] = ()) -> None:
        self._firsts: dict[str, tuple[tuple[int, ...], tuple[str, ...]]] = {}
        for name, shape, planes in known:
            self._firsts.setdefault(name, (shape, planes))

    def of(self, plan: Plan) -> str:
        """Return a plan's own name; behind it, how it differs from the first of this name."""
        shape = plan.parts[0].tensor.shape
        first, planes = self._firsts.setdefault(plan.name, (shape, plan.planes))
        differs = []
        if shape != first:
            differs.append("x".join(map(str, shape)))
        if plan.planes != planes:
            lost = [p for p in planes if p not in plan.planes]
            more = [p for p in plan.planes if p not in planes]
            differs += [f"without {', '.join(lost)}"] * bool(lost)
            differs += [f"with {', '.join(more)}"] * bool(more)
        return f"{plan.name} ({'; '.join(differs)})" if differs else plan.name


def reference_of(
    key: Key, earlier: Sequence[Mapping[Key, Tensor]], settings: AnimationSettings
) -> Tensor | None:
    """Return the tensor that a change is measured from; None where no earlier step has it."""
    steps = earlier if settings.delta == "first" else reversed(earlier)
    return next((held[key] for held in steps if key in held), None)


def take(
    step: Step,
    checkpoint: Checkpoint,
    earlier: Sequence[Mapping[Key, Tensor]],
    names: Names,
    settings: AnimationSettings,
) -> tuple[Take, list[Skip]]:
    """Find out from headers what a step has to show.

    Parameters
    ----------
    step : Step
    checkpoint : Checkpoint
        Its own.
    earlier : sequence of mapping
        The tensors of the steps before.
    names : Names
        Remembers the shapes of this step.
    settings : AnimationSettings

    Raises
    ------
    SelectionError
        Nothing that was asked for.
    """
    chosen, skips = select(checkpoint, present(settings.build.selection, checkpoint))
    tensors = {key_of(t): t for t in chosen}
    pooled = pooled_notes(checkpoint)
    shown = list(tensors.values())
    if settings.delta != "none":
        lost = [n for n, note in pooled.items() if note.pool == "rms"]
        skips += [Skip(t.name, _NO_SIGN) for t in shown if t.name in lost]
        shown = [t for t in shown if t.name not in lost]
        pairs = [(t, reference_of(key_of(t), earlier, settings)) for t in shown]
        shown = [Change.of(t, reference) for t, reference in pairs if reference is not None]
    plans: dict[str, Plan] = {}
    if shown and settings.view != "time":
        made, unfit = make_plans(shown, settings.build.field)
        skips += unfit
        for plan in made:
            # A vector has no terrain; norms, many σ from zero, would reach into other layers.
            if settings.view != "relief" or plan.shape[1] > 1:
                name = names.of(plan)
                plans[name] = replace(plan, name=name)
    whole = {name: note.moments for name, note in pooled.items()}
    grids = frozenset(
        note.pool for name, note in pooled.items() if name in {t.name for t in chosen}
    )
    return Take(step, checkpoint.stamp, plans, tensors, whole, grids), skips


def present(selection: Selection, checkpoint: Checkpoint) -> Selection:
    """Return what of a selection a step has; all of it where it has nothing."""
    names = tuple(name for name in selection.names if name in checkpoint)
    patterns = tuple(p for p in selection.patterns if any(fnmatchcase(n, p) for n in checkpoint))
    here = replace(selection, names=names, patterns=patterns)
    return here if names or patterns else selection


def takes_of(
    steps: Iterable[Step], settings: AnimationSettings, stack: ExitStack
) -> tuple[list[Take], list[Skip], list[str]]:
    """Find out from headers what every step has to show.

    Parameters
    ----------
    steps : iterable of Step
    settings : AnimationSettings
    stack : ExitStack
        Closes the checkpoints.

    Returns
    -------
    list of Take, list of Skip, list of str
        Steps that cannot be read are skipped; notes tell what comes and goes.

    Raises
    ------
    SelectionError
        No step has what was asked for.
    """
    takes: list[Take] = []
    skips: dict[tuple[str, str], Skip] = {}
    first_error: SelectionError | None = None
    names, selection = Names(), settings.build.selection
    missing = {*selection.names, *selection.patterns}
    for step in steps:
        try:
            checkpoint = stack.enter_context(open_checkpoint(step.path))
        except CheckpointError as error:
            skips[step.label, str(error)] = Skip(step.label, str(error))
            continue
        earlier = [made.tensors for made in takes]
        here = present(selection, checkpoint)
        if here is not selection:
            missing -= {*here.names, *here.patterns}
        try:
            made, unfit = take(step, checkpoint, earlier, names, settings)
        except SelectionError as error:
            first_error = first_error or error
            made, unfit = Take(step, checkpoint.stamp, {}, {}), []
        takes.append(made)
        for skip in unfit:
            skips[skip.name, skip.reason] = skip
    if first_error is not None and not any(made.tensors for made in takes):
        raise first_error
    if missing and takes:
        named = printable(min(missing))
        raise SelectionError(f"no step has a tensor that is called or matches {named!r}")
    notes = presence(takes)
    if settings.view == "relief":
        every = {t.name for made in takes for t in made.tensors.values()}
        shown = {
            p.tensor.held_by[0] for m in takes for plan in m.plans.values() for p in plan.parts
        }
        notes += _vectors(sorted(every - shown), "a relief") if settings.delta == "none" else []
    grids = {name for made in takes for name in made.whole}
    if grids:
        what = f"{len(grids)} tensors, such as {printable(min(grids))}"
        notes.append(f"{what}, were pooled when they were saved; σ is that of the whole tensor")
    return takes, list(skips.values()), notes


def presence(takes: Sequence[Take]) -> list[str]:
    """Say which tensors are not there at all steps."""
    at: dict[Key, list[int]] = defaultdict(list)
    for i, made in enumerate(takes):
        for key in made.tensors:
            at[key].append(i)
    groups: dict[tuple[int, ...], list[Key]] = defaultdict(list)
    for key, steps in at.items():
        if len(steps) < len(takes):
            groups[tuple(steps)].append(key)
    shapes: dict[str, int] = defaultdict(int)
    for name, _ in at:
        shapes[name] += 1
    notes = []
    for there, keys in groups.items():
        name, shape = keys[0]
        what = printable(name)
        if shapes[name] > 1:
            what += f" as {' × '.join(map(str, shape)) or 'scalar'}"
        more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
        verb = "is" if len(keys) == 1 else "are"
        notes.append(f"{what}{more} {verb} there only at {_spans(there, takes)}")
    return notes


def _spans(there: Sequence[int], takes: Sequence[Take]) -> str:
    """Return steps as text, neighbouring ones as one span."""
    spans: list[list[int]] = []
    for i in there:
        if spans and i == spans[-1][-1] + 1:
            spans[-1].append(i)
        else:
            spans.append([i])
    said = []
    for span in spans:
        first, last = takes[span[0]].step, takes[span[-1]].step
        said.append(first.label if len(span) == 1 else f"{first.label} to {last.name}")
    return ", ".join(said)


def through_time(
    takes: Sequence[Take], settings: AnimationSettings
) -> tuple[list[Plan], list[Skip], list[str]]:
    """Stack each tensor through the steps: a plane is a step.

    Of changes, the step that they are measured from is a plane of zeros. Vectors are left out, as
    they are of a field through the layers; the notes say so.
    """
    stacks: dict[Key, list[tuple[str, Tensor]]] = defaultdict(list)
    for i, made in enumerate(takes):
        earlier = [before.tensors for before in takes[:i]]
        for key, tensor in made.tensors.items():
            shown = tensor
            if settings.delta != "none":
                reference = reference_of(key, earlier, settings)
                shown = Change.of(tensor, tensor if reference is None else reference)
            stacks[key].append((made.step.label, shown))
    plans, skips, vectors, names = [], [], [], Names()
    for (name, shape), stack in stacks.items():
        if min(matrix_shape(shape)) < 2:
            vectors.append(name)
            continue
        if len(stack) < 2:
            skips.append(Skip(name, "is there, in this shape, at one step only"))
            continue
        first = stack[0][1]
        parts = tuple(whole(tensor, settings.build.field.grid) for _, tensor in stack)
        labels = tuple(label for label, _ in stack)
        plan = Plan(name, "time", first.role, first.names.group, first.layer, parts, labels)
        plans.append(replace(plan, name=f"time {names.of(plan)}"))
    return plans, skips, _vectors(vectors, "time fields")


def _vectors(names: Sequence[str], where: str) -> list[str]:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return [f"vectors have no place in {where}: {printable(names[0])}{more}"] if names else []
