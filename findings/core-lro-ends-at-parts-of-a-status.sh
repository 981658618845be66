#!/bin/sh
# A status that merely contains "fail" or "succeeded", such as "failover in progress", is the end for the poller of Azure's SDK for JavaScript.
#
# @azure/core-lro 3.3.1 (npm), Node 20.20.2, beside Go github.com/Azure/azure-sdk-for-go/sdk/azcore v1.24.0, Go 1.26.
#
# Guess: the ends are the words succeeded, failed and canceled; every other status is work in progress, as Azure's guidelines for REST
# APIs have it.
# Seen: core-lro looks for parts of words, azcore for words. What one gives up, or takes for done, the other goes on polling.
#
#   status                   core-lro             azcore
#   processing               running              running
#   failing-over             failed               running
#   partially-succeeded      succeeded            running
#   succeeded                succeeded            succeeded
#
# What to do: let no status in between contain "fail" or "succeeded".
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
cd "$folder"
cat >main.go <<'EOF'
package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

func main() {
	status := os.Args[1]
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodPost {
			w.Header().Set("Operation-Location", server.URL+"/jobs/1")
			w.WriteHeader(http.StatusAccepted)
			_, _ = fmt.Fprint(w, `{"status":"pending"}`)
			return
		}
		_, _ = fmt.Fprintf(w, `{"status":%q}`, status)
	}))
	ctx := context.Background()
	pipeline := runtime.NewPipeline("finding", "v0.0.0", runtime.PipelineOptions{}, nil)
	request, err := runtime.NewRequest(ctx, http.MethodPost, server.URL)
	if err != nil {
		panic(err)
	}
	response, err := pipeline.Do(request)
	if err != nil {
		panic(err)
	}
	poller, err := runtime.NewPoller[map[string]any](response, pipeline, nil)
	if err != nil {
		panic(err)
	}
	if _, err := poller.Poll(ctx); err != nil {
		panic(err)
	}
	if !poller.Done() {
		fmt.Print("running")
		return
	}
	if _, err := poller.Result(ctx); err != nil {
		fmt.Print("failed")
		return
	}
	fmt.Print("succeeded")
}
EOF
go mod init finding >go.log 2>&1
go get github.com/Azure/azure-sdk-for-go/sdk/azcore@v1.24.0 >>go.log 2>&1
go build -o find . || {
	cat go.log
	exit 1
}
echo '{"private": true, "type": "module"}' >package.json
npm install --ignore-scripts --no-audit --no-fund --loglevel=error @azure/core-lro@3.3.1
cat >find.mjs <<'EOF'
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHttpPoller } from '@azure/core-lro';

const answer = (statusCode, headers, body, url) => ({ flatResponse: body, rawResponse: { statusCode, headers, body, request: { method: 'POST', url } } });

/** What the poller says after it was answered once with this status. */
async function polled(status) {
  const poller = createHttpPoller({
    sendInitialRequest: async () => answer(202, { 'operation-location': '/jobs/1' }, { status: 'pending' }, '/jobs'),
    sendPollRequest: async (path) => answer(200, {}, { status }, path),
  }, { intervalInMs: 1 });
  return (await poller.poll().catch(() => poller.operationState)).status;
}

console.log('status'.padEnd(24), 'core-lro'.padEnd(20), 'azcore');
const seen = [];
for (const status of ['processing', 'failing-over', 'partially-succeeded', 'succeeded']) {
  const row = [status, await polled(status), execFileSync('./find', [status], { encoding: 'utf8', timeout: 20_000 })];
  console.log(row[0].padEnd(24), row[1].padEnd(20), row[2]);
  seen.push(row);
}
assert.deepEqual(seen, [
  ['processing', 'running', 'running'],
  ['failing-over', 'failed', 'running'],
  ['partially-succeeded', 'succeeded', 'running'],
  ['succeeded', 'succeeded', 'succeeded'],
]);
EOF
timeout 60 node find.mjs
