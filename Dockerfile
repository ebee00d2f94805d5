# For a CPU: docker build -t swin-umamba . (docs/container.md)
FROM python:3.11-slim-bookworm AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
# The pinned versions; torch and the package in one command, so that torch stays the build for the CPU.
RUN python -m venv /opt/swin-umamba \
    && /opt/swin-umamba/bin/python -m pip install --no-cache-dir -c constraints.txt \
       --extra-index-url https://download.pytorch.org/whl/cpu \
       "torch==2.13.*" "torchvision==0.28.*" ".[serve,zarr,openslide,cluster]"

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="swin-umamba" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/swin-umamba /opt/swin-umamba
COPY packaging/container/health.py /opt/health.py
RUN useradd --uid 10001 --user-group --no-create-home swin
# All that is written besides results is below /tmp: the rest of the file system may be read-only.
ENV PATH=/opt/swin-umamba/bin:$PATH \
    HOME=/tmp/home \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s CMD ["python", "/opt/health.py"]
ENTRYPOINT ["swin-umamba"]
CMD ["--help"]
