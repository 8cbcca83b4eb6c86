package drain

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// full says whether figures are wanted that may be published, of a machine that does
// nothing else.
func full() bool { return *messages >= 1_000_000 }

var figures strings.Builder // a table in Markdown

// tell notes a figure of Sluice, and that of Mosquitto if there is one.
func tell(t *testing.T, what, format string, values ...any) {
	t.Helper()
	columns := []string{what, "", ""}
	for i, v := range values {
		columns[1+i] = fmt.Sprintf(format, v)
	}
	t.Log(strings.TrimSpace(strings.Join(columns, "  ")))
	fmt.Fprintf(&figures, "| %s |\n", strings.Join(columns, " | "))
}

// TestMain prints all figures as a table.
func TestMain(m *testing.M) {
	code := m.Run()
	if full() {
		fmt.Printf("\n| %d messages of %d bytes at QoS 1 | Sluice | Mosquitto |\n|---|---:|---:|\n%s\n", *messages, payload, figures.String())
	}
	os.Exit(code)
}
