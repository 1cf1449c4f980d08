# syntax=docker/dockerfile:1
# Two images: docker build -t sals . (CUDA, the default) and docker build --target cpu -t sals:cpu .
# The publish is self-contained: one result serves both bases, NVIDIA's images bring no .NET, and PID 1 is the server's own executable.
ARG DOTNET_SDK_IMAGE=mcr.microsoft.com/dotnet/sdk
ARG DOTNET_DEPS_IMAGE=mcr.microsoft.com/dotnet/runtime-deps
ARG DOTNET_VERSION=10.0
# 12.4 is the NVRTC that the tests compile every kernel with; the driver's major version must be at least this one's
ARG CUDA_IMAGE=nvidia/cuda
ARG CUDA_VERSION=12.4.1
ARG CUDA_SYSTEM=ubuntu22.04

FROM ${DOTNET_SDK_IMAGE}:${DOTNET_VERSION} AS build
ARG TARGETARCH
ENV DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1
WORKDIR /source
# ReadyToRun: compiled ahead for the target, so that neither start nor the first request waits for .NET's compiler
# what decides the packages, so that editing a source file does not restore again
COPY global.json Directory.Build.props Directory.Packages.props .editorconfig ./
COPY src/Sals.Kernels.Cuda/Sals.Kernels.Cuda.csproj src/Sals.Kernels.Cuda/
COPY src/Sals.Engine/Sals.Engine.csproj src/Sals.Engine/
COPY src/Sals.Server/Sals.Server.csproj src/Sals.Server/
RUN dotnet restore src/Sals.Server/Sals.Server.csproj -a "$TARGETARCH" -p:SelfContained=true -p:PublishReadyToRun=true
COPY src/ src/
RUN dotnet publish src/Sals.Server/Sals.Server.csproj -c Release -a "$TARGETARCH" --self-contained --no-restore -p:PublishReadyToRun=true -o /app
COPY LICENSE docker/healthcheck.sh /app/
COPY docker/appsettings.Container.json /app/appsettings.json
# mount points exist and belong to the server's user, so that a named volume inherits that
RUN mkdir -p /rootfs/models /rootfs/cache

# the only two libraries that the server loads beside the driver's libcuda; the rest of the toolkit stays behind
FROM ${CUDA_IMAGE}:${CUDA_VERSION}-runtime-${CUDA_SYSTEM} AS cuda-libraries
RUN mkdir /libraries \
    && cp -P /usr/local/cuda/lib64/libnvrtc.so.* /usr/local/cuda/lib64/libnvrtc-builtins.so.* /usr/local/cuda/lib64/libcublasLt.so.* /libraries/

FROM ${DOTNET_DEPS_IMAGE}:${DOTNET_VERSION} AS cpu
COPY --from=build --chown=1654:1654 /rootfs/ /
COPY --from=build /app /app
# nothing is written outside /cache and /tmp: the root file system may be read-only
ENV HOME=/cache XDG_CACHE_HOME=/cache HF_HOME=/models/huggingface SALS_DEVICE=cpu DOTNET_EnableDiagnostics=0
USER 1654:1654
WORKDIR /models
VOLUME ["/models", "/cache"]
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10m --retries=3 CMD ["/app/healthcheck.sh"]
ENTRYPOINT ["/app/sals"]

FROM ${CUDA_IMAGE}:${CUDA_VERSION}-base-${CUDA_SYSTEM} AS cuda
# .NET's cryptography (page hashes, HTTPS) is OpenSSL's
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libssl3 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=cuda-libraries /libraries/ /opt/cuda/
COPY --from=build --chown=1654:1654 /rootfs/ /
COPY --from=build /app /app
ENV SALS_CUDA_LIBRARY_PATH=/opt/cuda NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    HOME=/cache XDG_CACHE_HOME=/cache HF_HOME=/models/huggingface DOTNET_EnableDiagnostics=0
USER 1654:1654
WORKDIR /models
VOLUME ["/models", "/cache"]
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10m --retries=3 CMD ["/app/healthcheck.sh"]
ENTRYPOINT ["/app/sals"]
