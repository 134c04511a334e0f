# One image for coordinator and workers: docker build -t longrope .
# Workers on NVIDIA GPUs:                docker build --build-arg LONGROPE_TORCH=cuda -t longrope .

FROM debian:12-slim AS build
ARG LONGROPE_TORCH=cpu
ENV LONGROPE_TORCH=${LONGROPE_TORCH} LANG=C.UTF-8
WORKDIR /opt/longrope
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends ca-certificates make
# Dependencies first: they change rarely, so this layer is kept between builds.
COPY tools/install_dependencies.sh tools/install_cuda_toolkit.sh tools/debian-packages.txt \
  tools/requirements-build.txt tools/
RUN tools/install_dependencies.sh build
COPY . .
RUN make build
# The worker finds Torch's libraries, and these find CUDA's, by relative paths: copy them with their folders.
RUN cd .venv/lib/python3*/site-packages \
  && mkdir -p "/runtime$PWD" \
  && cp -a --parents torch/lib $(ls -d nvidia 2>/dev/null) "/runtime$PWD" \
  && cd /opt/longrope && cp -a --parents build/bin /runtime/opt/longrope

FROM debian:12-slim AS runtime
RUN apt-get update -qq \
  && apt-get install -y -qq --no-install-recommends \
     ca-certificates libcurl4 libfmt9 libspdlog1.10 libsqlite3-0 libssl3 libtomlplusplus3 libyaml-0-2 libzmq5 \
     python3-venv sqlite3 \
  && rm -rf /var/lib/apt/lists/* \
  && useradd --system --uid 10001 --home-dir /data longrope \
  && mkdir -p /data /build/demo \
  && chown longrope /data /build/demo
# What cuts texts into documents: docker run --rm -v "$PWD:/data" --entrypoint prepare_documents longrope --help
WORKDIR /opt/longrope
COPY tools/install_dependencies.sh tools/requirements-documents.txt tools/
RUN tools/install_dependencies.sh documents && rm -rf build
COPY tools/prepare_documents.py tools/
COPY tools/document_preparation tools/document_preparation
RUN printf '#!/bin/sh\nexec /opt/longrope/.venv/bin/python -B /opt/longrope/tools/prepare_documents.py "$@"\n' \
     >/usr/local/bin/prepare_documents \
  && chmod +x /usr/local/bin/prepare_documents
COPY --from=build /runtime/ /
RUN ln -s /opt/longrope/build/bin/longrope /opt/longrope/build/bin/longrope-worker /usr/local/bin/
USER longrope
WORKDIR /data
ENTRYPOINT ["longrope"]
CMD ["--help"]
