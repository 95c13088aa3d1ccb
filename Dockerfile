# The image of all commands: docker run smpl-train --dataset svhn. Reasons: docs/decisions/0010-the-container-image.md
ARG BASE_IMAGE=docker.io/library/debian:bookworm-20261005-slim@sha256:7c7b2c966bc9ee8cedfeef67e0e279108992c77681fa595db4a9d65c06ccc587

FROM ${BASE_IMAGE} AS system
RUN --mount=type=cache,target=/var/cache/apt --mount=type=cache,target=/var/lib/apt \
    rm -f /etc/apt/apt.conf.d/docker-clean \
    && apt-get update && apt-get install --yes --no-install-recommends \
        ca-certificates g++ libpython3-dev python3 python3-pip-whl tini \
    && ln -s /usr/share/python-wheels/pip-*.whl /opt/pip.whl \
    && install -d -m 1777 /data /out

# Build our own package in a separate stage, so that no build tools remain in the image.
FROM system AS package
ENV PIP_ROOT_USER_ACTION=ignore PYTHONPATH=/opt/pip.whl:/opt/build
COPY docker/requirements/build.lock /opt/locks/
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m pip install --no-deps --require-hashes --target /opt/build -r /opt/locks/build.lock
COPY . /source
RUN python3 -m pip install --no-deps --no-build-isolation --target /opt/smpl /source

# Layers by rate of change: torch changes rarely, the libraries sometimes, our own code with every build.
FROM system AS runtime
ENV PYTHONPATH=/opt/smpl:/opt/libraries:/opt/torch
ARG VARIANT=cuda
COPY docker/requirements/torch-${VARIANT}.lock /opt/locks/torch.lock
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 /opt/pip.whl/pip install --no-deps --target /opt/torch -r /opt/locks/torch.lock \
    && find /opt/torch -name '*.a' -delete
COPY docker/requirements/libraries.lock /opt/locks/
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 /opt/pip.whl/pip install --no-deps --require-hashes --target /opt/libraries -r /opt/locks/libraries.lock \
    && find /opt/libraries -type d -name tests -prune -exec rm -r {} +
COPY docker/entrypoint /usr/local/bin/smpl-entrypoint
COPY --from=package /opt/smpl /opt/smpl

# Any user can run it with a read-only root: prepared sets are in /data, runs in /out, caches in /tmp.
ENV PATH=/opt/smpl/bin:/opt/libraries/bin:/opt/torch/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PYTHONSAFEPATH=1 TORCH_CPP_LOG_LEVEL=ERROR \
    HOME=/tmp USER=smpl MPLCONFIGDIR=/tmp/matplotlib TORCHINDUCTOR_CACHE_DIR=/tmp/inductor TRITON_CACHE_DIR=/tmp/triton \
    SMPL_DATA=/data SMPL_RUNS=/out SMPL_CACHE=/data/.cache \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
VOLUME ["/data", "/out"]
WORKDIR /out
USER 65532:65532
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/tini", "-g", "--", "/usr/local/bin/smpl-entrypoint"]

ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="smpl-train" \
      org.opencontainers.image.description="Distributed training with few labels: SMPL, MPL, MetaSemi and their baselines" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="docker.io/library/debian:bookworm-20261005-slim"
