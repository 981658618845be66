# The gateway and the worker, two static binaries on nothing else:
#
#   docker build -t hark --build-arg VERSION=v1.2.3 .
#   docker run --rm -p 127.0.0.1:8080:8080 -v hark:/data hark --listen 0.0.0.0:8080 --insecure
#   docker run --rm --entrypoint /worker hark --help
FROM golang:1.26-bookworm AS build
WORKDIR /src
# The modules first, so that a change of the code does not fetch them again.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ENV CGO_ENABLED=0
# What the programs, and the label of the image, say that it is.
ARG VERSION=devel
ARG STAMP="-s -w -X github.com/hark-push/hark/version.stamped=${VERSION}"
RUN go build -trimpath -ldflags="${STAMP}" -o /out/hark ./gateway
RUN go build -trimpath -ldflags="${STAMP}" -o /out/worker ./processor/cmd/worker
# The image has no shell, and a health check needs something that asks.
RUN go build -trimpath -ldflags='-s -w' -o /out/health ./deploy/health
RUN mkdir /out/data

FROM scratch
ARG VERSION=devel
LABEL org.opencontainers.image.title="Hark" \
      org.opencontainers.image.description="A real-time push gateway for asynchronous requests" \
      org.opencontainers.image.source="https://github.com/hark-push/hark" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/hark /out/worker /out/health /
# A new volume takes over the owner of the folder that it is mounted on.
COPY --from=build --chown=65532:65532 /out/data /data
ENV HARK_DATA=/data
USER 65532:65532
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["/health", "http://127.0.0.1:8080/health/ready"]
ENTRYPOINT ["/hark"]
