package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"debug/buildinfo"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/firmware-tests/rig"
)

const (
	startLimit = 30 * time.Second
	loadLimit  = 150 * time.Second // sluice bench gives up before
	settling   = 200 * time.Millisecond
)

// brokers are those that can be measured here.
type brokers struct {
	dir      string            // temporary, for all they write
	scripts  string            // the folder of the start scripts
	gateway  string            // the binary that is measured, and measures
	env      []string          // tells the scripts where the programs are
	versions map[string]string // by script; what is not there can not be had
	tracer   bool              // strace is there
	realTime bool              // atOnce is allowed
}

// findBrokers finds, installs or builds all it can.
func findBrokers(dir string) (*brokers, error) {
	gateway, err := rig.Build()
	if err != nil {
		return nil, err
	}
	b := &brokers{
		dir: dir, gateway: filepath.Join(dir, "sluice"), versions: map[string]string{},
		scripts: filepath.Join(rig.Root(), "firmware-tests", "bench", "peers"),
	}
	b.add("sluice", "GATEWAY", b.gateway, copyFile(b.gateway, gateway), says("version"))
	mosquitto, err := rig.Find("mosquitto", "mosquitto")
	b.add("mosquitto", "MOSQUITTO", mosquitto, err, says("-h"))
	nats, err := rig.BuildNATS()
	b.add("nats", "NATS_SERVER", nats, err, says("-v"))
	mochi, err := buildMochi(filepath.Join(b.scripts, "mochi"))
	b.add("mochi", "MOCHI", mochi, err, holds("github.com/mochi-mqtt/server/v2"))
	self, err := os.Executable()
	b.add("relay", "RELAY", self, err, func(string) string { return "relay: no broker, a thread that hands on what comes" })
	if _, err := rig.Find("strace", "strace"); err != nil {
		progress("without a slow disk: %v", err)
	} else {
		b.tracer = true
	}
	if err := exec.Command(atOnce[0], append(atOnce[1:], "true")...).Run(); err != nil { // root may
		progress("without priority for those who behave: %v", err)
	} else {
		b.realTime = true
	}
	if b.versions["sluice"] == "" {
		return nil, fmt.Errorf("there is no gateway to measure: %s", gateway)
	}
	return b, makeCertificate(dir)
}

// copyFile makes a program of our own of one that others may build anew meanwhile.
func copyFile(to, from string) error {
	program, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, program, 0o755)
}

// add takes in a program by what its script is called, and the variable that the
// script finds it by, unless err says that there is none.
func (b *brokers) add(script, variable, path string, err error, version func(path string) string) {
	if err != nil {
		progress("without %s: %v", script, err)
		return
	}
	b.env = append(b.env, variable+"="+path)
	b.versions[script] = version(path)
}

// says is the version as a program prints it, in its first line.
func says(flag string) func(path string) string {
	return func(path string) string {
		out, _ := exec.Command(path, flag).CombinedOutput() // mosquitto -h says it, and fails
		first, _, _ := strings.Cut(string(out), "\n")
		return strings.TrimSpace(first)
	}
}

// holds is the version of a module that a Go program was built from.
func holds(module string) func(path string) string {
	return func(path string) string {
		info, err := buildinfo.ReadFile(path)
		if err != nil {
			return module
		}
		for _, dep := range info.Deps {
			if dep.Path == module {
				return module + " " + dep.Version
			}
		}
		return module
	}
}

// buildMochi builds the program in dir, a module of its own.
func buildMochi(dir string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	path := filepath.Join(cache, "sluice-firmware-tests", "mochi")
	cmd := exec.Command("go", "build", "-o", path, ".") // nothing to do if it is there
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build mochi: %w\n%s", err, out)
	}
	return path, nil
}

// present is the sides whose brokers are here.
func (b *brokers) present(sides []side) (here []side) {
	for _, s := range sides {
		if _, ok := b.versions[s.broker]; ok && (b.tracer || !s.traced) {
			here = append(here, s)
		}
	}
	return here
}

// running is a broker that was started in a directory of its own.
type running struct {
	*rig.Process
	dir    string
	addr   string   // of the listener that the side is about
	env    []string // of script
	script []string // what started it
	log    rig.Log
}

// start starts a side's broker and waits until it listens.
func (b *brokers) start(s side) (*running, error) {
	dir, err := os.MkdirTemp(b.dir, s.broker+"-")
	if err != nil {
		return nil, err
	}
	addrs, err := rig.FreeAddrs(2)
	if err != nil {
		return nil, err
	}
	r := &running{dir: dir}
	r.env, r.addr = b.environment(s, addrs)
	r.env = append(r.env, "TMPDIR="+dir)
	_, port, _ := net.SplitHostPort(addrs[0])
	r.script = []string{"sh", filepath.Join(b.scripts, s.broker+".sh"), port}
	if err := r.launch(); err != nil {
		return nil, err
	}
	if err := listening(r.Process, r.addr); err != nil {
		r.end()
		return nil, fmt.Errorf("%w\n%s", err, r.log.Tail(5))
	}
	time.Sleep(settling)
	return r, nil
}

// launch starts the script.
func (r *running) launch() (err error) {
	r.Process, err = rig.Start(&r.log, r.env, r.script[0], r.script[1:]...)
	return err
}

// end kills the broker and removes what it has written.
func (r *running) end() {
	r.Kill()
	os.RemoveAll(r.dir)
}

// load starts a broker, puts a load on it and ends it.
func (b *brokers) load(ctx context.Context, s side, args []string) (o outcome, line []byte, err error) {
	r, err := b.start(s)
	if err != nil {
		return o, nil, err
	}
	defer r.end()
	o, line, err = b.put(ctx, s, r, args)
	if err == nil {
		o.Collector = r.collector()
	}
	return o, line, err
}

// put puts a load on a broker that runs.
func (b *brokers) put(ctx context.Context, s side, r *running, args []string) (o outcome, line []byte, err error) {
	scheme := s.scheme
	if scheme == "" {
		scheme = "mqtt"
	}
	args = append(args, strings.Fields(s.flags)...)
	args = append(args, "-url", scheme+"://"+r.addr, "-pid", strconv.Itoa(r.PID()), "-label", s.label, "-json")
	return b.generate(ctx, s.apart, args)
}

// environment is a broker's, and the address to put the load on.
func (b *brokers) environment(s side, addrs []string) (env []string, addr string) {
	env = append(append(append(env, b.env...), "GODEBUG=gctrace=1"), s.env...) // collector reads it
	switch s.scheme {
	case "ws":
		return append(env, "SLUICE_WS_ADDR="+addrs[1]), addrs[1]
	case "mqtts":
		return append(env, "SLUICE_MQTTS_ADDR="+addrs[1], "SLUICE_WSS_ADDR=off",
			"SLUICE_TLS_CERT="+filepath.Join(b.dir, "cert.pem"), "SLUICE_TLS_KEY="+filepath.Join(b.dir, "key.pem")), addrs[1]
	}
	return env, addrs[0]
}

// listening waits until p listens on addr.
func listening(p *rig.Process, addr string) error {
	for deadline := time.Now().Add(startLimit); time.Now().Before(deadline); {
		if c, err := net.Dial("tcp", addr); err == nil {
			return c.Close()
		}
		select {
		case <-p.Done():
			return fmt.Errorf("it ended before it listened on %s", addr)
		case <-time.After(10 * time.Millisecond):
		}
	}
	return fmt.Errorf("it does not listen on %s within %v", addr, startLimit)
}

// generate runs sluice bench, apart from the broker and before all others if that is wanted
// and may be. A run that went wrong has an outcome as well.
func (b *brokers) generate(ctx context.Context, apart bool, args []string) (o outcome, line []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, loadLimit)
	defer cancel()
	var errs bytes.Buffer
	command := append([]string{b.gateway, "bench"}, args...)
	if apart && b.realTime {
		command = append(slices.Clone(atOnce), command...)
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stderr = &errs
	line, runErr := cmd.Output()
	if err := json.Unmarshal(line, &o); err != nil {
		return o, nil, fmt.Errorf("sluice bench %s: %w\n%s", strings.Join(args, " "), runErr, errs.String())
	}
	return o, line, nil
}

// makeCertificate makes cert.pem and key.pem in dir, for a server that nobody checks.
func makeCertificate(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: cert}, "key.pem": {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
	}
	return nil
}
