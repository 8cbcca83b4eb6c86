# make               build bin/sluice
# make run           build it and run it with safe defaults, the data in ./data
# make demo          the whole job in a minute: sensors, gateway, a cluster that fails
# make test          all tests, those of the gateway with the race detector
# make check         formatting, vet, staticcheck, a few seconds of each fuzz target
# make bench         benchmarks, each COUNT (6) times, for benchstat
# make bench-peers   the gateway beside its peers: firmware-tests/bench/RESULTS.md; FLAGS=-short to try
# make conformance   every statement of MQTT 3.1.1 and 5.0, at bin/sluice or at BROKER=host:port
# make firmware      the tests that use the built gateway only, all of them
# make bridge        of those, the bridge at Mosquitto, a cluster of nats-server and RabbitMQ, and at lines that fail; after
# make drain         the speed and memory of its backlog, 1,000,000 messages beside Mosquitto: the table of deploy/bridges.md
# make release       dist/: every platform, reproducible, with sizes and checksums
# make test-arm      tests of codec, store and gateway for ARM, under QEMU

.PHONY: build run demo test check bench bench-peers conformance firmware bridge drain release test-arm
build:
	deploy/build.sh bin/sluice

run: build
	bin/sluice

demo:
	cd firmware-tests && go run ./demo

test:
	deploy/test.sh

check:
	deploy/check.sh

bench:
	@go test -run '^$$' -bench . -benchmem -count $(or $(COUNT),6) ./...

bench-peers:
	cd firmware-tests && go run ./bench/table -results bench $(FLAGS)

conformance:
	@cd firmware-tests && go run ./conformance $(if $(BROKER),-broker $(BROKER)) $(FLAGS)

firmware:
	cd firmware-tests && go test -count=1 ./...

bridge: drain
	cd firmware-tests && go test -count=1 -v ./bridge ./batch ./crash && go test -count=1 -v -timeout 1h ./uplink -schedules=$(or $(SCHEDULES),300) $(FLAGS)

drain:
	cd firmware-tests && go test -count=1 -v -timeout 1h ./drain -messages 1000000

release:
	deploy/release.sh dist

test-arm:
	deploy/test-arm.sh
