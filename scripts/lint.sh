#!/bin/sh
# Everything that is checked without running the code.
set -eu
tool() { go tool -modfile=tools/go.mod "$@"; }

echo "lint: gofumpt"
unformatted=$(tool gofumpt -l .)
if [ -n "$unformatted" ]; then
	echo "not formatted (make fmt): $unformatted" >&2
	exit 1
fi
echo "lint: go vet"
go vet ./...
echo "lint: go fix"
outdated=$(go fix -diff ./... 2>&1 || true)
if [ -n "$outdated" ]; then
	echo "$outdated" >&2
	exit 1
fi
echo "lint: go mod tidy"
go mod tidy -diff
echo "lint: the modules of their own"
for module in deploy/schemas loadtest/asynq loadtest/centrifuge clienttest/follow clienttest/receivers/go clienttest/generated; do
	(cd "$module" && go mod tidy -diff && go vet ./...)
done
echo "lint: scripts"
for script in scripts/*.sh deploy/*.sh findings/*.sh; do
	bash -n "$script"
done
if command -v shellcheck >/dev/null 2>&1; then
	shellcheck scripts/*.sh findings/*.sh
fi
if grep -n '"resolved"' clienttest/package-lock.json clienttest/receivers/package-lock.json clienttest/generated/package-lock.json clienttest/durable/package-lock.json; then
	echo "these lock files name where packages come from: make them with the .npmrc beside them" >&2
	exit 1
fi
echo "lint: golangci-lint"
tool golangci-lint run ./...
echo "lint: govulncheck"
# Needs its database; without a network that is said, not failed.
if out=$(tool govulncheck ./... 2>&1); then
	:
elif echo "$out" | grep -qiE 'dial tcp|no such host|connection refused|Forbidden|fetching vulnerabilities|TLS'; then
	echo "govulncheck: skipped, its database cannot be reached" >&2
else
	echo "$out" >&2
	exit 1
fi
