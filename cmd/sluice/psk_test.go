package main

import (
	"context"
	"encoding/hex"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sluice/gateway/transport"
)

const givenKey = "000102030405060708090a0b0c0d0e0f"

func TestPSK(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "psk")
	environ := map[string]string{"SLUICE_DATA_DIR": dir}
	ok := func(stdin string, args ...string) string {
		t.Helper()
		code, out, errs := runCommand(t, environ, stdin, append([]string{"psk"}, args...)...)
		if code != exitOK || errs != "" {
			t.Fatalf("psk %v ends with %d: %s", args, code, errs)
		}
		return out
	}
	shown := regexp.MustCompile(`^identity  pump7\nkey       ([0-9a-f]{64})\n$`).FindStringSubmatch(ok("", "set", "pump7"))
	if shown == nil {
		t.Fatal("no key is shown")
	}
	if out := ok(givenKey+"\nnot this line\n", "set", "pump8", "-stdin", "-user", "the pumps"); out != "" {
		t.Errorf("a key that was given is shown: %s", out)
	}
	ok("", "set", "-f", file, "gone")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(file); info.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %v", info.Mode())
	}
	if want := "pump7 " + shown[1] + " pump7\npump8 " + givenKey + " the pumps\ngone "; !strings.HasPrefix(string(text), want) {
		t.Errorf("the file holds\n%s, want\n%s", text, want)
	}
	ok("", "del", "gone")
	if out := ok("", "list"); out != "pump7\tpump7\npump8\tthe pumps\n" {
		t.Errorf("list prints\n%s", out)
	}

	environ["SLUICE_USERS_FILE"] = write(t, dir, "users", "pump7:"+strings.TrimPrefix(hashOf(t, "x"), "x:")+"\n")
	if _, _, errs := runCommand(t, environ, "", "psk", "set", "pump9"); !strings.Contains(errs, `no account "pump9"`) {
		t.Errorf("a key of no account: %s", errs)
	}
	for _, c := range []struct {
		stdin string
		args  string
		code  int
		errs  string
	}{
		{"", "", exitUsage, "say what to do"},
		{"", "get a", exitUsage, "say what to do"},
		{"", "set", exitUsage, "whose key"},
		{"", "set a b", exitUsage, "argument too many"},
		{"", "set #a", exitUsage, "may not begin with #"},
		{"", "set a -user *", exitUsage, "may not be *"},
		{"", "del nobody", exitFailed, `no key of "nobody"`},
		{"secret!\n", "set a -stdin", exitFailed, "neither hexadecimal nor Base64"},
		{"0001\n", "set a -stdin", exitFailed, "2 bytes, not 16 to 64"},
		{"", "set a -f " + dir + "/nowhere/psk", exitUsage, "there is no directory"},
	} {
		code, out, errs := runCommand(t, environ, c.stdin, append([]string{"psk"}, strings.Fields(c.args)...)...)
		if code != c.code || !strings.Contains(errs, c.errs) || out != "" || strings.Contains(errs, "secret") {
			t.Errorf("psk %s: exit code %d, errors %q, output %q; want %d, %q", c.args, code, errs, out, c.code, c.errs)
		}
	}
	faulty := write(t, dir, "faulty", "a "+givenKey+"\n")
	os.Chmod(faulty, 0o600)
	if code, _, errs := runCommand(t, environ, "", "psk", "set", "-f", faulty, "b"); code != exitFailed || !strings.Contains(errs, "faulty:1:") {
		t.Errorf("into a faulty file: %d %s", code, errs)
	}
}

// hashOf is the hash of a password, as sluice passwd writes it.
func hashOf(t *testing.T, password string) string {
	t.Helper()
	users := filepath.Join(t.TempDir(), "users")
	if code, _, errs := runCommand(t, nil, password+"\n", "passwd", "-f", users, "x"); code != exitOK {
		t.Fatal(errs)
	}
	text, _ := os.ReadFile(users)
	return strings.TrimSpace(string(text))
}

// A device with a key is a client with the key's account, by keys that were
// made after the gateway had started.
func TestDTLSDevice(t *testing.T) {
	dir := t.TempDir()
	users := write(t, dir, "users", "pump:"+strings.TrimPrefix(hashOf(t, "x"), "x:")+"\n")
	g := startGateway(t, map[string]string{"SLUICE_DATA_DIR": dir, "SLUICE_USERS_FILE": users, "SLUICE_SN_DTLS_ADDR": "127.0.0.1:0"})
	if !strings.Contains(g.log.String(), "no device has a pre-shared key yet") {
		t.Errorf("the log does not say that there are no keys:\n%s", g.log)
	}
	for identity, user := range map[string]string{"pump7": "pump", "stray": "nobody"} {
		if code, _, errs := runCommand(t, nil, givenKey, "psk", "set", identity, "-stdin", "-user", user, "-f", filepath.Join(dir, "psk")); code != exitOK {
			t.Fatal(errs)
		}
	}
	time.Sleep(1100 * time.Millisecond) // the gateway looks at the file once a second
	key, _ := hex.DecodeString(givenKey)
	connect := "\x0a\x04\x04\x01\x00\x3cdev1"
	for identity, want := range map[string]string{
		"pump7": "\x03\x05\x00", // accepted
		"stray": "\x03\x05\x03", // refused: not supported
	} {
		answer := make([]byte, 100)
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		c, err := transport.DialDTLS(ctx, g.addr["MQTT-SN over DTLS"], transport.DTLSClient{Identity: identity, Key: key})
		if err != nil {
			t.Fatal(err)
		}
		c.Write([]byte(connect))
		n, err := c.Read(answer)
		if err != nil || string(answer[:n]) != want {
			t.Errorf("%s: CONNECT is answered by %x %v, want %x", identity, answer[:n], err, want)
		}
		c.Close()
	}
	g.stop()
	if strings.Contains(g.log.String(), givenKey) {
		t.Error("a key is in the log")
	}
}

func TestDTLSSettings(t *testing.T) {
	dir := t.TempDir()
	cert, key := makeCertificate(t, dir)
	open := write(t, dir, "open", "a "+givenKey+" a\n")
	os.Chmod(open, 0o644)
	for want, environ := range map[string]map[string]string{
		"SN_PSK_FILE: " + open + ": mode 0644 lets others read the keys: chmod 600 it": {"SN_PSK_FILE": open},
		"SN_PSK_FILE: there is no directory " + dir + "/none":                          {"SN_PSK_FILE": dir + "/none/psk"},
		"SN_DTLS_MAX_SESSIONS: 0 is less than 1":                                       {"SN_DTLS_MAX_SESSIONS": "0"},
		"SN_DTLS_IDLE: 1ms is less than 1s":                                            {"SN_DTLS_IDLE": "1ms"},
		"SN_DTLS_CERTIFICATES: set, but SLUICE_TLS_CERT is not":                        {"SN_DTLS_CERTIFICATES": "true"},
		"SN_DTLS_CERTIFICATES: nobody could show one":                                  {"SN_DTLS_CERTIFICATES": "true", "TLS_CERT": cert, "TLS_KEY": key},
	} {
		all := map[string]string{"SLUICE_DATA_DIR": dir, "SLUICE_SN_DTLS_ADDR": "127.0.0.1:0"}
		for name, value := range environ {
			all["SLUICE_"+name] = value
		}
		if _, err := readSettings(all); err == nil || !strings.Contains(err.Error(), "SLUICE_"+want) {
			t.Errorf("%v: %v, want %s", environ, err, want)
		}
	}
	mustRead(t, map[string]string{"SLUICE_DATA_DIR": dir, "SLUICE_SN_DTLS_ADDR": "127.0.0.1:0", "SLUICE_SN_DTLS_CERTIFICATES": "true",
		"SLUICE_TLS_CERT": cert, "SLUICE_TLS_KEY": key, "SLUICE_TLS_CLIENT_CA": cert})
}
