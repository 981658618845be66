#!/bin/sh
# The poller of Azure's SDK for Go refuses a 202 whose Operation-Location or Location is a path, although a relative Location is right
# by RFC 9110; that of the SDK for JavaScript follows it.
#
# Go github.com/Azure/azure-sdk-for-go/sdk/azcore v1.24.0, Go 1.26; @azure/core-lro 3.3.1 (npm), Node 20.20.2.
#
# Guess: both resolve it against the URL that they called, as RFC 9110 has it (section 10.2.2).
# Seen: azcore looks for a scheme and ends with an error, after the work has been accepted.
#
#   azcore, Operation-Location: /jobs/1 invalid Operation-Location URL /jobs/1
#   azcore, Location: /jobs/1 invalid polling URL /jobs/1
#   core-lro, Operation-Location: /jobs/1 asks for /jobs/1
#
# What to do: a server that wants both as clients sends absolute URLs, and has to be told its own address for that. A client adds a
# policy that makes them absolute.
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

func poll(header string) error {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodPost {
			w.Header().Set(header, "/jobs/1")
			w.WriteHeader(http.StatusAccepted)
		}
		_, _ = fmt.Fprint(w, `{"status":"succeeded"}`)
	}))
	defer server.Close()
	pipeline := runtime.NewPipeline("finding", "v0.0.0", runtime.PipelineOptions{}, nil)
	request, err := runtime.NewRequest(context.Background(), http.MethodPost, server.URL)
	if err != nil {
		panic(err)
	}
	response, err := pipeline.Do(request)
	if err != nil {
		panic(err)
	}
	_, err = runtime.NewPoller[map[string]any](response, pipeline, nil)
	return err
}

func main() {
	ok := true
	for _, each := range [][2]string{{"Operation-Location", "Operation-Location"}, {"Location", "polling"}} {
		err := poll(each[0])
		fmt.Printf("azcore, %s: /jobs/1 %v\n", each[0], err)
		ok = ok && err != nil && err.Error() == "invalid "+each[1]+" URL /jobs/1"
	}
	if !ok {
		os.Exit(1)
	}
}
EOF
go mod init finding >go.log 2>&1
go get github.com/Azure/azure-sdk-for-go/sdk/azcore@v1.24.0 >>go.log 2>&1
go build -o find . || {
	cat go.log
	exit 1
}
timeout 30 ./find
echo '{"private": true, "type": "module"}' >package.json
npm install --ignore-scripts --no-audit --no-fund --loglevel=error @azure/core-lro@3.3.1
cat >find.mjs <<'EOF'
import assert from 'node:assert/strict';
import { createHttpPoller } from '@azure/core-lro';

const answer = (statusCode, headers, body, url) => ({ flatResponse: body, rawResponse: { statusCode, headers, body, request: { method: 'POST', url } } });
let asked;
const { status } = await createHttpPoller({
  sendInitialRequest: async () => answer(202, { 'operation-location': '/jobs/1' }, {}, '/jobs'),
  sendPollRequest: async (path) => {
    asked = path;
    return answer(200, {}, { status: 'succeeded' }, path);
  },
}, { intervalInMs: 1 }).pollUntilDone();
console.log(`core-lro, Operation-Location: /jobs/1 asks for ${asked}`);
assert.deepEqual([asked, status], ['/jobs/1', 'succeeded']);
EOF
timeout 30 node find.mjs
