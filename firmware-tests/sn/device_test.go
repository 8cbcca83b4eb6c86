package sn

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/firmware-tests/rig"
)

// patience bounds every wait for something that should come.
const patience = 30 * time.Second

// board is what a device runs on.
type board struct {
	name  string
	build func() (command []string, err error)
}

var (
	native = board{"native", sync.OnceValues(buildNative)}
	arm    = board{"arm", sync.OnceValues(buildARM)}
)

// kit is a board with a link.
type kit struct {
	number int // of its own
	board
	secure bool // DTLS
}

var kits = []kit{{0, native, false}, {1, native, true}, {2, arm, false}, {3, arm, true}}

// each plays with every kit, side by side.
func each(t *testing.T, play func(t *testing.T, k kit)) {
	for _, k := range kits {
		link := map[bool]string{false: "udp", true: "dtls"}[k.secure]
		t.Run(k.name+" "+link, func(t *testing.T) {
			t.Parallel()
			_, err := k.build()
			need(t, err)
			play(t, k)
		})
	}
}

// What the devices prove themselves by over DTLS.
const (
	identity = "device"
	key      = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
)

// built is where devices are built, and left for as long as the process runs.
var built string

func TestMain(m *testing.M) {
	// Scenes wait more than they work. The command line may say otherwise.
	err := flag.Set("test.parallel", "16")
	if err != nil {
		panic(err)
	}
	if built, err = os.MkdirTemp("", "sluice-device-"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(built)
	os.Exit(code)
}

// compile compiles the device.
func compile(name, compiler string, flags ...string) (string, error) {
	sources, err := filepath.Glob("cclient/*.c")
	if err != nil {
		return "", err
	}
	path := filepath.Join(built, name)
	args := append([]string{"-std=gnu11", "-Wall", "-Wextra", "-Werror", "-o", path}, sources...)
	args = append(append(args, flags...), "-lmbedtls", "-lmbedx509", "-lmbedcrypto")
	if out, err := exec.Command(compiler, args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("compile the device: %w\n%s", err, out)
	}
	return path, nil
}

// buildNative builds the device so that it ends at the first wrong access to memory.
func buildNative() ([]string, error) {
	compiler, err := rig.Find("gcc", "gcc libc6-dev")
	if err == nil {
		err = rig.FindFile("/usr/include/mbedtls/ssl.h", "libmbedtls-dev")
	}
	if err != nil {
		return nil, err
	}
	path, err := compile("native", compiler, "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
	return []string{path}, err
}

// buildARM builds the device as firmware: small, static, for a 32-bit ARM.
func buildARM() ([]string, error) {
	emulator, err := rig.Find("qemu-arm-static", "qemu-user-static")
	if err != nil {
		return nil, err
	}
	compiler, err := rig.Find("arm-linux-gnueabihf-gcc", "gcc-arm-linux-gnueabihf libc6-dev-armhf-cross")
	if err != nil {
		return nil, err
	}
	root, err := armLibraries()
	if err != nil {
		return nil, err
	}
	path, err := compile("arm", compiler, "-Os", "-static", "-I"+root+"/usr/include", "-L"+root+"/usr/lib/arm-linux-gnueabihf")
	return []string{emulator, path}, err
}

// armLibraries is a directory of the user's cache with mbedTLS for ARM.
func armLibraries() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "sluice-firmware-tests", "armhf")
	if _, err := os.Stat(filepath.Join(dir, "usr")); err == nil {
		return dir, nil
	}
	if out, err := exec.Command("cclient/armhf.sh", dir).CombinedOutput(); err != nil {
		return "", fmt.Errorf("mbedTLS for ARM: %w (%v: %s)", rig.ErrMissing, err, out)
	}
	return dir, nil
}

// device is a device in a process of its own; cclient/main.c says what it understands.
type device struct {
	t       *testing.T
	cmd     *exec.Cmd
	in      io.WriteCloser
	answers chan string     // closed when it has ended
	came    chan string     // messages, and what else comes unasked
	spare   map[string]bool // of which more may come at the end
	log     rig.Log
}

// start starts a device, with its T_RETRY.
func (k kit) start(t *testing.T, addr string, retry time.Duration) *device {
	t.Helper()
	command, err := k.build()
	need(t, err)
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	args := append(command[1:len(command):len(command)], host, port, fmt.Sprint(retry.Milliseconds()), fmt.Sprint(retries))
	if k.secure {
		args = append(args, identity, key)
	}
	d := &device{t: t, cmd: exec.CommandContext(t.Context(), command[0], args...),
		answers: make(chan string, 10), came: make(chan string, 1000)}
	d.cmd.Stderr = &d.log
	d.in, err = d.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go d.read(out)
	t.Cleanup(func() {
		d.kill()
		if said := d.log.String(); t.Failed() && said != "" {
			t.Logf("the device said besides:\n%s", said)
		}
		for line := range d.came {
			if !d.spare[line] {
				t.Errorf("there came besides: %s", line)
			}
		}
	})
	return d
}

// retries is N_RETRY of devices: what the tests lose on purpose, they lose often.
const retries = 30

func (d *device) read(out io.Reader) {
	defer close(d.came)
	defer close(d.answers)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		line := strings.ReplaceAll(lines.Text(), "\t", " ")
		if word, _, _ := strings.Cut(line, " "); word == "ok" || word == "error" {
			d.answers <- line
		} else {
			d.came <- line
		}
	}
}

// kill ends the device as a flat battery does.
func (d *device) kill() {
	_ = d.cmd.Process.Kill()
	for range d.answers {
	}
	_ = d.cmd.Wait()
}

// ask gives a command, whose fields are put together, and returns the answer.
func (d *device) ask(fields ...any) string {
	d.t.Helper()
	command := make([]string, len(fields))
	for i, f := range fields {
		command[i] = fmt.Sprint(f)
	}
	if _, err := io.WriteString(d.in, strings.Join(command, "\t")+"\n"); err != nil {
		d.t.Fatalf("the device has ended: %v\n%s", err, d.log.Tail(20))
	}
	select {
	case answer, running := <-d.answers:
		if !running {
			d.t.Fatalf("the device ended at %s\n%s", strings.Join(command, " "), d.log.Tail(20))
		}
		return answer
	case <-time.After(2 * patience):
		d.t.Fatalf("the device does not answer %s", strings.Join(command, " "))
		return ""
	}
}

// do gives a command that has to succeed.
func (d *device) do(fields ...any) (told string) {
	d.t.Helper()
	answer := d.ask(fields...)
	told, ok := strings.CutPrefix(answer, "ok ")
	if !ok {
		d.t.Fatalf("%v: %s", fields, answer)
	}
	return told
}

// refused gives a command that has to fail in a certain way.
func (d *device) refused(why string, fields ...any) {
	d.t.Helper()
	if answer := d.ask(fields...); answer != "error "+why {
		d.t.Fatalf("%v: %s, want error %s", fields, answer, why)
	}
}

// want waits for what comes next.
func (d *device) want(lines ...string) {
	d.t.Helper()
	for _, want := range lines {
		select {
		case got, running := <-d.came:
			if got != want || !running {
				d.t.Fatalf("got %q, want %q", got, want)
			}
		case <-time.After(patience):
			d.t.Fatalf("%q did not come", want)
		}
	}
}
