# The gateway and the worker, two static binaries on nothing else:
#
#   docker build -t hark .
#   docker run --rm -p 127.0.0.1:8080:8080 -v hark:/data hark --listen 0.0.0.0:8080 --insecure
#   docker run --rm --entrypoint /worker hark --help
FROM golang:1.26-bookworm AS build
WORKDIR /src
# The modules first, so that a change of the code does not fetch them again.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ENV CGO_ENABLED=0
RUN go build -trimpath -ldflags='-s -w' -o /out/hark ./gateway
RUN go build -trimpath -ldflags='-s -w' -o /out/worker ./processor/cmd/worker
# The image has no shell, and a health check needs something that asks.
RUN go build -trimpath -ldflags='-s -w' -o /out/health ./deploy/health
RUN mkdir /out/data

FROM scratch
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
