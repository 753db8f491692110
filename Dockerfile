# Images of blip-handler, for a CPU or an NVIDIA card: docs/how-to/build-an-image.md.
#
#   docker build --tag blip-handler .      in a clone; podman and buildah read the same file
#   blip-handler build                     from an installed package, with checkpoints and the options of build.yaml
#
# The last stage runs no command, so BASE needs no shell, and an image for arm64 can be built on x64.

# The image below the service: glibc and libstdc++ is all that it needs. With CUDA it must also have CUDA and cuDNN 9.
ARG BASE=docker.io/library/debian:bookworm-slim
# Node.js is taken from here.
ARG NODE=docker.io/library/node:22-bookworm-slim

# Node.js of the machine that will run. buildah 1.28 leaves a container behind for a stage without an instruction.
FROM ${NODE} AS node
WORKDIR /

# The service as `blip-handler build --folder` writes it. In a clone it is made here; else the context has it.
FROM --platform=${BUILDPLATFORM} ${NODE} AS service
ARG TARGETARCH
# 12 or 13 for CUDA's provider, which is fetched from NuGet or PyPI; empty for a CPU.
ARG CUDA
# Mirrors of npm's registry and of PyPI.
ARG NPM_CONFIG_REGISTRY
ARG PIP_INDEX_URL
WORKDIR /source
COPY . .
RUN test -d service || { \
      { test -d node_modules || npm ci --no-audit --no-fund; } && \
      node --import tsx build/bundle.ts --quiet && \
      node dist/main.js build --folder service ${TARGETARCH:+--architecture ${TARGETARCH}} ${CUDA:+--cuda ${CUDA}}; \
    }
# A volume gets the owner of the folder that it covers.
RUN ["node", "-e", "require('node:fs').mkdirSync('/cache/huggingface', { recursive: true })"]

FROM ${BASE}
ARG BASE
LABEL org.opencontainers.image.title="blip-handler" \
      org.opencontainers.image.description="Serves BLIP, BLIP-2 and CLIP checkpoints without Python" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.base.name="${BASE}"
COPY --from=node /usr/local/bin/node /usr/local/bin/node
COPY --from=service --chown=65532:65532 /cache /cache
COPY --from=service /source/service/node_modules /app/node_modules
COPY --from=service /source/service/LICENSE /source/service/package.json /app/
COPY --from=service /source/service/dist /app/dist
# HOST: a container is asked from outside, so the server demands BLIP_API_TOKENS. HF_HOME: checkpoints of the Hub.
ENV NODE_ENV=production HOST=0.0.0.0 PORT=8080 HF_HOME=/cache/huggingface
# No user of the system: an image needs no names, and Kubernetes takes numbers alone for runAsNonRoot.
USER 65532:65532
WORKDIR /app
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/node", "/app/dist/main.js"]
CMD ["serve"]
