# `make` runs the system; `make help` lists the targets.

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.7.0
DATA ?= data
FUZZTIME ?= 30s
RUNS ?= 5
DURATION ?= 1m

.PHONY: run
run: ## the whole system in one process, fed by this machine's own metrics
	go build -trimpath -o weir . && exec ./weir run --config deploy/weir.yaml --data $(DATA)

.PHONY: build
build: ## the program, ./weir
	go build -trimpath -o weir .

# Folders whose tests run whole processes and measure how long things take.
TIMED = /pipelines$$|/pipelines/(endtoend|operations)$$

.PHONY: test
test: ## everything but the real engines, race detector on; timed tests last, one folder after the other
	go test -race $$(go list ./... | grep -vE '$(TIMED)')
	go test -race -p 1 $$(go list ./... | grep -E '$(TIMED)')

.PHONY: test-engines
test-engines: ## on Apache Kafka and Apache Cassandra, which it starts and stops
	deploy/engines/test.sh

.PHONY: attack
attack: ## bad inputs and attacks on one weir, and how each is refused (part of test-engines)
	go test -tags engines -count=1 -run TestAttack -v ./pipelines/attack

.PHONY: stress
stress: ## the simulation, one seed after the other for DURATION; a failing one is shrunk and printed
	go run ./pipelines/simulation/stress -duration $(DURATION)

.PHONY: bench
bench: ## Go benchmark lines: compare two runs with benchstat
	go test -run '^$$' -bench . -benchmem -count=$(RUNS) -timeout 90m ./...

.PHONY: bench-peers
bench-peers: ## the same samples through weir, VictoriaMetrics' streamaggr and Kafka Streams
	deploy/bench-peers/run.sh

.PHONY: fuzz
fuzz: ## each fuzz test for FUZZTIME
	@for p in $$(go list ./...); do \
	  for f in $$(go test -list '^Fuzz' $$p | grep '^Fuzz'); do \
	    echo "$$p $$f"; \
	    go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$p || exit 1; \
	  done; \
	done

.PHONY: lint
lint: ## gofmt, go vet and staticcheck
	@test -z "$$(gofmt -l .)" || { gofmt -l .; exit 1; }
	go vet ./...
	go vet -tags engines ./...
	go run $(STATICCHECK) ./...
	go run $(STATICCHECK) -tags engines ./...

.PHONY: help
help:
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' Makefile | expand -t 16
