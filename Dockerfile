# Blender in the browser with Weightwalk in it; without a screen, the same image is the batch worker.
ARG BASE_IMAGE=lscr.io/linuxserver/blender:latest

# What is needed is built by the base's own Blender and for its Python, whichever these are.
# hadolint ignore=DL3006
FROM ${BASE_IMAGE} AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ENV HOME=/root
WORKDIR /src
COPY LICENSE README.md pyproject.toml ./
COPY scripts scripts
COPY compose/image compose/image
COPY blender_addon blender_addon
COPY batch batch
RUN compose/image/build /opt/weightwalk
# "yes" adds torch and transformers, for `weightwalk probe`: gigabytes. The wheels without CUDA are
# at https://download.pytorch.org/whl/cpu, which can be given as TORCH_INDEX.
ARG PROBE=no
ARG TORCH_INDEX=
RUN if [ "$PROBE" = yes ]; then compose/image/add-probe /opt/weightwalk "$TORCH_INDEX"; fi

# Demonstrations: a catalog of the models in a job file of this checkout, by default the demo's.
FROM build AS demonstrations
ARG DEMO_JOBS=compose/demos.toml
RUN --mount=type=bind,target=/context,rw \
    /context/compose/image/make-demos "/context/$DEMO_JOBS" /opt/weightwalk-visualizations

# hadolint ignore=DL3006
FROM ${BASE_IMAGE} AS plain
COPY --from=build /opt/weightwalk /opt/weightwalk
RUN /opt/weightwalk/image/install
# As the base's own, but for a look at the password.
ENTRYPOINT ["/opt/weightwalk/image/desktop"]

FROM plain AS demos
COPY --from=demonstrations /opt/weightwalk-visualizations /opt/weightwalk-visualizations

FROM plain AS weightwalk
