package sn

import (
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"testing"
	"time"

	"sluice/firmware-tests/rig"
)

// OpenSSL carries messages in bytes: a record is a message. It has each of the suites.
func TestOpenSSL(t *testing.T) {
	openssl, err := rig.Find("openssl", "openssl")
	need(t, err)
	g := startGateway(t, "SLUICE_SN_DTLS_CCM8=true")
	for i, suite := range []string{"PSK-CHACHA20-POLY1305", "PSK-AES256-CCM", "PSK-AES128-CCM8"} {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			var errs rig.Log
			cmd := exec.CommandContext(t.Context(), openssl, "s_client", "-dtls1_2", "-quiet", "-connect", g.dtls,
				"-psk_identity", identity, "-psk", key, "-cipher", suite+":@SECLEVEL=0")
			cmd.Stderr = &errs
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			late := time.AfterFunc(patience, func() { cmd.Process.Kill() })
			defer late.Stop()
			defer func() {
				cmd.Process.Kill()
				cmd.Wait()
			}()
			for _, step := range [][2]string{
				{fmt.Sprintf("07 04 04 01 003c %02x", 'a'+i), "03 05 00"}, // CONNECT, CONNACK
				{"07 12 22 0001 6f73", "08 13 20 0000 0001 00"},           // SUBSCRIBE, SUBACK
				{"02 16", "02 17"}, // PINGREQ, PINGRESP
				{"02 18", "02 18"}, // DISCONNECT
			} {
				want := unhex(t, step[1])
				got := make([]byte, len(want))
				if _, err := in.Write(unhex(t, step[0])); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(out, got); err != nil || !bytes.Equal(got, want) {
					t.Fatalf("%s is answered with % x, %v; want %s\n%s", step[0], got, err, step[1], errs.Tail(10))
				}
			}
		})
	}
}
