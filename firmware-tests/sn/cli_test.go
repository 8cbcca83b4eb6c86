package sn

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/firmware-tests/rig"
)

// The client of the command line, over UDP and DTLS, through a network that loses a
// twentieth.
func TestCommandLine(t *testing.T) {
	g := startGateway(t, "SLUICE_SN_RETRY=200ms", "SLUICE_SN_RETRIES=30")
	keyFile := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(keyFile, []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, wire := range []string{"udp", "dtls"} {
		addr := g.addr(kit{secure: wire == "dtls"})
		run := func(t *testing.T, addr, input string, args ...string) (stdout string) {
			t.Helper()
			args = append(append([]string{"sn"}, args...), "-url", wire+"://"+addr, "-retry", "200ms", "-retries", "30")
			if wire == "dtls" {
				args = append(args, "-psk-identity", identity, "-psk-file", keyFile)
			}
			out, errs, err := sluice(t, input, args...)
			if err != nil || errs != "" {
				t.Errorf("sluice %v: %v\n%s", args, err, errs)
			}
			return out
		}
		radio := func(t *testing.T) string {
			r := &rig.Radio{Backend: addr, Seed: *seed, Lost: 0.05, Doubled: 0.1, Late: 0.1, Delay: 20 * time.Millisecond}
			if err := r.Open(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(r.Close)
			return r.Addr
		}
		const messages = 20
		t.Run(wire+"/pub", func(t *testing.T) {
			t.Parallel()
			for qos := 1; qos <= 2; qos++ {
				var input, want []string
				topic := fmt.Sprint(wire, "/up/", qos)
				c := g.startCentre(t, topic)
				for i := range messages {
					input = append(input, fmt.Sprintf("line %d\n", i))
					want = append(want, fmt.Sprintf("%s %d false line %d", topic, qos, i))
				}
				run(t, radio(t), strings.Join(input, ""), "pub", "-t", topic, "-l", "-q", fmt.Sprint(qos))
				collect(t, "up", c.came, want, qos)
			}
		})
		for _, how := range []string{"awake", "asleep"} {
			t.Run(wire+"/sub/"+how, func(t *testing.T) {
				t.Parallel()
				c := g.startCentre(t)
				topic := wire + "/down/" + how
				sub := []string{"sub", "-t", topic + "/#", "-q", "2", "-c", "-i", wire + how, "-v"}
				c.publish(topic+"/ready", 1, true, "for the session")
				if out := run(t, addr, "", append(sub, "-C", "1")...); out != topic+"/ready for the session\n" {
					t.Fatalf("it printed %q", out)
				}
				c.publish(topic+"/ready", 2, true, "") // or it comes again
				sub = append(sub, "-C", fmt.Sprint(1+messages))
				if how == "asleep" {
					sub = append(sub, "-sleep", "1")
				}
				all := make(chan string)
				go func() { all <- run(t, radio(t), "", sub...) }()
				want := topic + "/ready \n"
				for i := range messages {
					c.publish(fmt.Sprintf("%s/%d", topic, i%3), 2, false, fmt.Sprint(i))
					want += fmt.Sprintf("%s/%d %d\n", topic, i%3, i)
					time.Sleep(100 * time.Millisecond) // so that some come while it sleeps, and some while it wakes
				}
				if out := <-all; out != want {
					t.Errorf("it printed\n%s, want\n%s", out, want)
				}
			})
		}
	}
	out, errs, err := sluice(t, "", "sn", "search", "-to", g.udp, "-W", "1s")
	if err != nil || out != g.udp+" gateway 1\n" {
		t.Errorf("sluice sn search: %v, %q, %s", err, out, errs)
	}
}
