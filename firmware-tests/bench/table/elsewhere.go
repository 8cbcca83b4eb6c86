package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sluice/firmware-tests/rig"
)

// elsewhere is what other programs and tests measure, and need not be measured again: they
// keep their figures or hold them to bounds.
func elsewhere() string {
	return `
## Elsewhere

| what | shown by |
|---|---|
| a match among 1,000,000 subscriptions costs what the topic's depth asks for, beside mochi and nats-server: the plot below | ` + "`go run ./bench/match -svg bench/match/match.svg`" + ` |
| 10,000 retained messages are found by a wildcard without a look at others | ` + "`go test ./gateway/topic -run Scanned -bench Scale`" + ` |
| nothing is allocated for a message at QoS 0, 1 and 2, to durable sessions, of MQTT 5 and 3.1.1, in a bridge; 100,000 idle connections | ` + "`go test ./gateway/... ./bridge ./codec ./store -run Alloc -v`" + ` |
| memory under abuse has a bound, and those who behave lose nothing | ` + "`cd firmware-tests && go test ./abuse -v`" + ` |
| instructions for a message, held to these figures with 5 % slack | ` + "`cd firmware-tests && go test ./instructions`" + ` |

![Match](match/match.svg)

Instructions of the gateway's own code for one operation, counted under QEMU's user emulation; the kernel's are not in them:

` + instructions()
}

// instructions is the kept figures of what a message takes, as a table.
func instructions() string {
	text, err := os.ReadFile(filepath.Join(rig.Root(), "firmware-tests", "instructions", "figures.tsv"))
	if err != nil {
		return fmt.Sprintf("(%v)\n", err)
	}
	var s strings.Builder
	for line := range strings.Lines(string(text)) {
		row := strings.Split(strings.TrimSpace(line), "\t")
		switch {
		case row[0] == "operation":
			fmt.Fprintf(&s, "| %s |\n|---|%s\n", strings.Join(row, " | "), strings.Repeat("---:|", len(row)-1))
		case strings.HasPrefix(row[0], "gateway/"), strings.HasPrefix(row[0], "bridge/"):
			fmt.Fprintf(&s, "| %s |\n", strings.Join(row, " | "))
		}
	}
	return s.String()
}
