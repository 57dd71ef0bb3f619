"""What a person clicks: thin operators and panels over the pipeline."""

from __future__ import annotations

import bpy

from . import (
    build,
    export,
    flow_build,
    flow_follow,
    flow_load,
    flow_panel,
    flow_probe,
    flow_properties,
    head_up,
    inspect,
    job,
    load,
    load_url,
    navigate,
    panels,
    preferences,
    properties,
    run_export,
    run_load,
    run_panel,
    run_properties,
    session,
    training_run,
)

CLASSES = (
    preferences.WeightwalkPreferences,
    properties.TensorItem,
    run_properties.TrainingRun,
    flow_properties.Flow,
    properties.Weights,
    load.TensorList,
    load.LoadModel,
    load.DropModel,
    load_url.LoadUrl,
    load_url.FromWeb,
    load.RecentMenu,
    load.Choose,
    build.Build,
    run_load.LoadRun,
    training_run.BuildRun,
    training_run.AppendStep,
    training_run.Follow,
    training_run.Relock,
    run_export.ExportRun,
    flow_load.LoadFlow,
    flow_build.BuildFlow,
    flow_build.SaveFlow,
    flow_follow.FollowFlow,
    flow_probe.RunProbe,
    flow_probe.CopyCommand,
    job.Confirm,
    job.Cancel,
    navigate.Walk,
    navigate.Step,
    navigate.GoTo,
    navigate.Overview,
    navigate.LayerMenu,
    inspect.Inspect,
    inspect.CopyEntry,
    inspect.Refine,
    export.Export,
    panels.ModelPanel,
    panels.ShapePanel,
    panels.BuildPanel,
    panels.NavigatePanel,
    panels.InspectPanel,
    run_panel.RunPanel,
    run_panel.RunExportPanel,
    flow_panel.FlowPanel,
    flow_panel.FlowPicturesPanel,
    flow_panel.ProbePanel,
    panels.ExportPanel,
)


def register() -> None:
    """Register all classes, the scene's properties, the keys and the line in the view."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    bpy.types.Scene.weightwalk = bpy.props.PointerProperty(type=properties.Weights)
    session.register()
    at_end = session.session().at_end
    at_end.append(navigate.add_keys())
    if not bpy.app.background:
        at_end.append(head_up.HeadUp().remove)


def unregister() -> None:
    """Take all of it back, last first."""
    session.unregister()
    del bpy.types.Scene.weightwalk
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
