# The verbs of this project. `make help` lists them; continuous integration calls the same.

GO       ?= go
TOOL     := $(GO) tool -modfile=tools/go.mod
FUZZTIME ?= 5s

.DEFAULT_GOAL := help
.PHONY: help run build cross test test-all test-beside test-go test-portable test-js test-clients test-streams test-chromium test-browsers test-generators test-shared test-servers pictures cluster story upgrade chaos setup lint fmt fuzz damages churn attack bench bench-work bench-peers bench-docs idle clean

help: ## list these verbs
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## run the gateway: the embedded store under ./data, the samples inside
	$(GO) run ./gateway

# hark is the gateway with what the sample database needs, so that `hark worker` has all that worker has.
LDFLAGS := -s -w $(if $(VERSION),-X github.com/hark-push/hark/version.stamped=$(VERSION))
build: ## build bin/hark, bin/gateway and bin/worker, static binaries; VERSION=v1.2.3 stamps them
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags='$(LDFLAGS)' -o bin/ ./gateway ./processor/cmd/worker
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags='$(LDFLAGS)' -tags=database -o bin/hark ./gateway

cross: ## whether gateway and worker compile for Linux, macOS, Windows and FreeBSD, on amd64 and arm64; BUILD=1 builds them into bin/
	$(GO) run ./scripts/cross $(if $(BUILD),-build)

# Two at a time, because half of the tests wait for others' programs and servers most of the time. What each prints stays together, if make can do that.
TOGETHER := -j2 $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

test: ## run all tests, bringing what they need (a browser, Redis and RabbitMQ in two versions, five proxies, a C compiler for -race)
	@sh scripts/setup.sh $(MAKE) test-all

test-all:
	@$(MAKE) $(TOGETHER) test-go test-beside

test-beside: # one after the other: the first ones share a folder of packages, the last ones wait for servers
	@$(MAKE) test-js
	@$(MAKE) test-clients
	@$(MAKE) test-streams
	@$(MAKE) test-chromium
	@$(MAKE) test-generators
	@$(MAKE) test-shared
	@$(MAKE) test-servers

# Without vet, which lint calls. What fails beside others, and not alone, is told and does not fail. Tests that may run beside each other
# wait for servers and processes most of the time, so twice as many do as there are processors.
GOTEST = GO="$(GO)" sh scripts/gotest.sh
BESIDE := -parallel=$(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2))))
test-go: ## the Go tests, with the race detector, in random order
	HARK_REQUIRE_BROWSER=1 HARK_REQUIRE_SERVERS=1 $(GOTEST) ./... -vet=off -race $(BESIDE) -shuffle=on -timeout=60m
	$(GO) test -C loadtest/centrifuge -vet=off ./...
	$(GO) test -C deploy/schemas -vet=off ./...
	$(GOTEST) ./hub -vet=off -race -shuffle=on -tags=portable

test-portable: ## hub and gateway as they are on systems other than Linux, tried on Linux: a goroutine for each connection
	$(GO) test -race -shuffle=on -tags=portable ./hub
	$(GO) test -race -shuffle=on -tags=portable,nodescriptor ./hub
	$(GO) test -shuffle=on -timeout=20m -tags=portable ./gateway ./gateway/node ./gateway/blackbox

# Without the race detector: test-go has it, on clusters of real servers, too.
test-shared: ## the gateway's tests once more, on real Redis and RabbitMQ, but those that are the same anywhere
	HARK_TEST_BACKENDS=shared HARK_REQUIRE_SERVERS=1 $(GOTEST) ./gateway/blackbox -vet=off $(BESIDE) -shuffle=on -timeout=50m

# The suites of store and broker say most of what versions differ in; of the gateway what lies between both.
ON_SERVERS := Asking$$|Callback|Chaos|Dead|Keys|Lease$$|ManyNodes|Order|Positions|RabbitMQ|Redis|Restart|Retr
ON_REDIS := Asking$$|DeadMessages|Keys$$|Lease$$|ManyNodes|Metrics$$|Positions|Restart|RetryAfter
SUITE ?= trixie
test-servers: ## store, broker, and what the gateway does with work, on RabbitMQ and Valkey of a newer suite of Debian: SUITE=trixie (default), or forky
	HARK_TEST_BACKENDS=shared HARK_REQUIRE_SERVERS=1 GO="$(GO)" sh scripts/servers.sh $(SUITE) sh scripts/gotest.sh "./servertest ./broker/rabbitmq ./broker/redis ./store/redis/..." -vet=off -shuffle=on -timeout=50m
	HARK_TEST_BACKENDS=shared HARK_REQUIRE_SERVERS=1 GO="$(GO)" sh scripts/servers.sh $(SUITE) sh scripts/gotest.sh ./gateway/blackbox -vet=off -shuffle=on -timeout=50m -run='$(ON_SERVERS)'
	HARK_TEST_BACKENDS=redis HARK_REQUIRE_SERVERS=1 GO="$(GO)" sh scripts/servers.sh $(SUITE) sh scripts/gotest.sh ./gateway/blackbox -vet=off -shuffle=on -timeout=50m -run='$(ON_REDIS)'

test-js: ## the tests of the client module
	cd web-demo && node --test

test-clients: ## streams, sockets, webhooks and polling with what others have written, in JavaScript, Go, PHP, Python (see docs/)
	@GO="$(GO)" sh scripts/clients.sh

test-streams: ## the conformance suite of Durable Streams, and its client (see clienttest/durable/README.md)
	@GO="$(GO)" sh scripts/streams.sh

test-chromium: ## hark.js in Chromium, through everything that may happen to a connection or a page; prints a table
	@GO="$(GO)" sh scripts/clients.sh browsers chromium

test-browsers: ## the same in Chromium, Firefox and WebKitGTK, bringing them (see docs/browsers.md)
	@GO="$(GO)" BROWSERS=1 sh scripts/setup.sh sh scripts/clients.sh browsers chromium firefox webkit

test-generators: ## clients that others' generators make of the API documents, and linters (see docs/generators.md)
	@GO="$(GO)" sh scripts/generators.sh

pictures: ## write docs/pictures: each page that the gateway serves, in Chromium, on a screen and on a phone, by day and by night
	@GO="$(GO)" sh scripts/clients.sh pictures docs/pictures

setup: ## bring what the tests need and do nothing else
	@sh scripts/setup.sh true

cluster: ## two gateways behind a proxy, two workers, Redis and RabbitMQ, from the programs on PATH
	deploy/cluster.sh

story: ## a processor dies and work piles up, on what cluster runs: what alerts, metrics, lists and the doctor say, and what is done; prints it
	@sh scripts/setup.sh deploy/story.sh

upgrade: ## from the version of FROM, a commit or tag, to this one with work under way: each request ends once, streams go on; prints it
	@sh scripts/setup.sh sh scripts/upgrade.sh $(FROM)

CHAOS := TestManyNodes|TestChaos|TestRollingRestart|TestRedisCluster|TestRedisFailover|TestRabbitMQCluster|TestClocks|TestLeaderDies|TestWebhooksWhenKilled|TestWebhooksTakenOver|TestWebhookOrder|TestWorkSurvivesKills
chaos: ## 10,000 requests over many nodes while one thing after the other is killed, paused, cut; prints what clients met
	HARK_CHAOS=$${HARK_CHAOS:-10000} HARK_REQUIRE_SERVERS=1 $(GO) test -v -p=1 -count=1 -timeout=60m -run='$(CHAOS)' ./gateway/blackbox ./broker/rabbitmq

damages: ## damage the embedded store's file and log at PLACES places (default 50) in each of 56 ways; prints what was told
	HARK_TEST_DAMAGES=$(or $(PLACES),50) $(GO) test -count=1 -v -run='^TestDamages$$' ./store/bolt

MINUTES ?= 5
churn: ## everything at once while everything dies and comes back, for MINUTES (default 5) on each kind of backends
	$(GO) run ./loadtest churn --minutes=$(MINUTES)
	@sh scripts/setup.sh $(GO) run ./loadtest --backends=shared churn --minutes=$(MINUTES)

attack: ## what an honest caller notices of attacks, each on a gateway of its own, embedded; 40 minutes
	$(GO) run ./loadtest attack

lint: ## formatting, vet, golangci-lint, tidiness, known vulnerabilities
	@sh scripts/lint.sh

fmt: ## format everything
	$(TOOL) gofumpt -w .

fuzz: ## run each fuzz target that there is for FUZZTIME (default 5s; or inputs, like 100000x); prints how many executions there were in all
	@GO="$(GO)" sh scripts/fuzz.sh $(FUZZTIME)

bench: ## benchmarks of store, codec and hub, and the memory of 10,000 waiting connections
	$(GO) test -run=- -bench=. -benchmem ./lifecycle ./store/codec ./store/bolt ./broker/memory ./hub
	@sh scripts/idle.sh

bench-work: ## from POST to the pushed result, embedded and on Redis and RabbitMQ, beside RabbitMQ and asynq alone and the floor
	$(GO) run ./loadtest lifecycle
	@sh scripts/setup.sh $(GO) run ./loadtest --backends=shared lifecycle

PEERS ?=
bench-peers: ## everything beside other push servers, half an hour; PEERS=--quick for two; leaves bench/results.json and report.html
	@NCHAN=1 sh scripts/setup.sh $(GO) run ./loadtest compare $(PEERS)

bench-docs: ## write the figures of docs/performance.md from bench/results.json, as bench-peers left it
	$(GO) run ./loadtest performance bench/results.json

idle: ## memory of 10,000 waiting connections, beside its targets
	@sh scripts/idle.sh

clean: ## remove what was built
	rm -rf bin
