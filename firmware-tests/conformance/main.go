// Conformance checks, statement by statement, what a broker obeys of MQTT 3.1.1 and
// 5.0, with conversations in raw bytes.
//
//	go run ./conformance                  bin/sluice, built and started here
//	go run ./conformance -broker H:P      any broker that is open to all
//	go run ./conformance -matrix FILE     Sluice beside its peers, written to FILE
//
// It prints a line per statement and totals, and ends with 1 if a statement fails.
package main

import (
	"flag"
	"fmt"
	"net"
	"os"

	"sluice/firmware-tests/conformance/suite"
)

func main() {
	broker := flag.String("broker", "", "`host:port` of the broker to test; none: bin/sluice, built and started here")
	webSocket := flag.String("ws", "", "`host:port` of the same broker over WebSocket, path /mqtt")
	v5 := flag.Bool("5", true, "test MQTT 5.0 too")
	asJSON := flag.Bool("json", false, "print the results as JSON")
	only := flag.String("run", "", "only tests whose names contain `text`")
	matrix := flag.String("matrix", "", "test Sluice, Mosquitto and nats-server, and write the table to `file`")
	flag.Parse()
	if err := run(*broker, *webSocket, *v5, *only, *matrix, *asJSON); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func run(broker, webSocket string, v5 bool, only, matrix string, asJSON bool) error {
	if matrix != "" {
		return writeMatrix(matrix)
	}
	target := &started{Target: suite.Target{Name: broker, Addr: broker, WebSocket: webSocket, V5: v5}}
	if broker == "" {
		var err error
		if target, err = startSluice(); err != nil {
			return err
		}
	}
	defer target.Stop()
	if nc, err := net.DialTimeout("tcp", target.Addr, suite.Patience); err != nil {
		return fmt.Errorf("no broker there: %w", err)
	} else {
		nc.Close()
	}
	r, err := check(&target.Target, only)
	if err != nil {
		return err
	}
	if asJSON {
		err = r.writeJSON(os.Stdout)
	} else {
		err = r.write(os.Stdout)
	}
	if err == nil && len(r.failures()) > 0 {
		err = fmt.Errorf("%d of the lines above fail", len(r.failures()))
	}
	return err
}
