package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sluice/codec"
)

// No command leaves a goroutine behind.
func TestMain(m *testing.M) {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP) // starts one that stays
	for runtime.NumGoroutine() < 2 {
		runtime.Gosched()
	}
	code := m.Run()
	for tries := 0; code == 0 && runtime.NumGoroutine() > 2; tries++ {
		if tries == 500 {
			pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
			code = 1
		}
		time.Sleep(10 * time.Millisecond)
	}
	os.Exit(code)
}

// runCommand runs sluice with args and returns its exit code and what it wrote.
func runCommand(t *testing.T, environ map[string]string, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var out, errs bytes.Buffer
	code = run(ctx, &command{args: args, environ: environ, stdin: strings.NewReader(stdin), stdout: &out, stderr: &errs})
	return code, out.String(), errs.String()
}

// gatewayProcess is sluice serve, running.
type gatewayProcess struct {
	addr map[string]string // by the listener's title
	stop func()            // an orderly end; the test fails if it is not
	log  *lockedBuffer
}

// startGateway runs sluice serve on ports of the system's choice.
func startGateway(t *testing.T, environ map[string]string) *gatewayProcess {
	t.Helper()
	all := map[string]string{
		"SLUICE_MQTT_ADDR": ":0", "SLUICE_WS_ADDR": ":0", "SLUICE_DATA_DIR": t.TempDir(), "SLUICE_SHUTDOWN_TIMEOUT": "5s",
	}
	maps.Copy(all, environ)
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	log := new(lockedBuffer)
	code := make(chan int, 1)
	go func() {
		defer in.Close()
		code <- run(ctx, &command{args: []string{"serve"}, environ: all, stdout: in, stderr: log})
	}()
	g := &gatewayProcess{addr: make(map[string]string), log: log}
	stopped := false
	g.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case c := <-code:
			if c != exitOK {
				t.Errorf("sluice serve ended with %d:\n%s", c, log)
			}
		case <-time.After(20 * time.Second):
			t.Errorf("sluice serve does not end:\n%s", log)
		}
	}
	t.Cleanup(g.stop)
	want := 2
	for name := range all {
		if strings.HasPrefix(name, "SLUICE_UNIX") || name == "SLUICE_HTTP_ADDR" || strings.HasSuffix(name, "S_ADDR") && name != "SLUICE_WS_ADDR" {
			want++
		}
	}
	lines := bufio.NewScanner(out)
	for range want {
		if !lines.Scan() {
			t.Fatalf("sluice serve ended before it listened:\n%s", log)
		}
		title, addr, _ := strings.Cut(lines.Text(), " on ")
		g.addr[title] = addr
	}
	return g
}

// lockedBuffer is a log that may be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// subscribe runs sluice sub in the background, and returns once it is subscribed.
// The function it returns waits for its end.
func subscribe(t *testing.T, g *gatewayProcess, environ map[string]string, args ...string) (wait func() (code int, stdout, stderr string)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	var out, errs lockedBuffer
	code := make(chan int, 1)
	id := fmt.Sprintf("sub-%d", time.Now().UnixNano())
	if !slices.Contains(args, "-i") {
		args = append(args, "-i", id)
	}
	// What is retained on a topic of its own tells that the subscription is there.
	args = append([]string{"sub", "-t", "ready/" + id}, args...)
	if c, _, e := runCommand(t, environ, "", "pub", "-url", g.url("MQTT"), "-t", "ready/"+id, "-m", "ready", "-r", "-q", "1"); c != 0 {
		t.Fatalf("retaining a message failed: %s", e)
	}
	go func() {
		code <- run(ctx, &command{args: args, environ: environ, stdout: &out, stderr: &errs})
	}()
	for strings.Count(out.String(), "ready") == 0 {
		select {
		case c := <-code:
			t.Fatalf("sluice %v ended with %d: %s", args, c, errs.String())
		case <-time.After(time.Millisecond):
		}
	}
	t.Cleanup(cancel)
	return func() (int, string, string) {
		c := <-code
		_, rest, _ := strings.Cut(out.String(), "\n") // behind the line that says ready
		return c, rest, errs.String()
	}
}

// url is where a listener listens, by its title.
func (g *gatewayProcess) url(title string) string {
	scheme := map[string]string{
		"MQTT": "mqtt://", "MQTT over TLS": "mqtts://", "MQTT over WebSocket": "ws://",
		"MQTT over secure WebSocket": "wss://", "MQTT over a Unix socket": "unix://",
	}[title]
	return scheme + g.addr[title]
}

// A message goes from each kind of wire to each version of MQTT.
func TestPublishAndSubscribe(t *testing.T) {
	dir := t.TempDir()
	cert, key := makeCertificate(t, dir)
	g := startGateway(t, map[string]string{
		"SLUICE_MQTTS_ADDR": ":0", "SLUICE_WSS_ADDR": ":0", "SLUICE_UNIX_PATH": filepath.Join(dir, "socket"),
		"SLUICE_TLS_CERT": cert, "SLUICE_TLS_KEY": key,
	})
	if len(g.addr) != 5 {
		t.Fatalf("listening on %v, want five ways in", g.addr)
	}
	for title := range g.addr {
		for _, version := range []string{"3.1", "3.1.1", "5"} {
			t.Run(title+" "+version, func(t *testing.T) {
				wait := subscribe(t, g, nil, "-url", g.url(title), "-cafile", cert, "-V", version, "-t", "a/#", "-q", "2", "-C", "4", "-v")
				for qos := range 3 {
					code, out, errs := runCommand(t, nil, "", "pub", "-url", g.url(title), "-cafile", cert, "-V", version,
						"-t", fmt.Sprint("a/", qos), "-m", "hello", "-q", fmt.Sprint(qos))
					if code != exitOK || out+errs != "" {
						t.Fatalf("pub at QoS %d: exit code %d, output %q, errors %q", qos, code, out, errs)
					}
				}
				code, out, errs := wait()
				if want := "a/0 hello\na/1 hello\na/2 hello\n"; code != exitOK || out != want || errs != "" {
					t.Errorf("sub: exit code %d, errors %q, got\n%swant\n%s", code, errs, out, want)
				}
			})
		}
	}
}

func TestPublishLines(t *testing.T) {
	g := startGateway(t, nil)
	environ := map[string]string{"SLUICE_CLIENT_URL": g.url("MQTT")}
	wait := subscribe(t, g, environ, "-t", "lines", "-q", "2", "-C", "1001")
	var lines strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&lines, "line %d\n", i)
	}
	if code, _, errs := runCommand(t, environ, lines.String(), "pub", "-t", "lines", "-l", "-q", "2"); code != exitOK {
		t.Fatalf("pub -l: exit code %d, %s", code, errs)
	}
	if _, out, errs := wait(); out != lines.String() {
		t.Errorf("1000 lines went in, %d came out, or not in order: %s", strings.Count(out, "\n"), errs)
	}
}

func TestPublishFileAndInput(t *testing.T) {
	g := startGateway(t, nil)
	host := strings.TrimPrefix(g.url("MQTT"), "mqtt://")
	file := write(t, t.TempDir(), "file", "\x00\xff\n")
	for _, args := range [][]string{{"-f", file}, {"-s"}} {
		wait := subscribe(t, g, nil, "-h", host, "-t", "a", "-C", "2", "-json")
		args = append([]string{"pub", "-h", host, "-t", "a", "-D", "unit=bar", "-D", "unit=psi", "-expiry", "90s"}, args...)
		if code, _, errs := runCommand(t, nil, "\x00\xff\n", args...); code != exitOK {
			t.Fatalf("%v: %s", args, errs)
		}
		var m message
		_, out, errs := wait()
		if err := json.Unmarshal([]byte(out), &m); err != nil {
			t.Fatalf("%q: %v, %s", out, err, errs)
		}
		if m.Topic != "a" || string(m.PayloadBase64) != "\x00\xff\n" || m.MessageExpiry == nil || *m.MessageExpiry != 90 ||
			!slices.Equal(m.User, [][2]string{{"unit", "bar"}, {"unit", "psi"}}) {
			t.Errorf("%v arrives as %s", args, out)
		}
	}
}

// What is acknowledged to a publisher survives the end of the gateway.
func TestSessionOutlivesGateway(t *testing.T) {
	environ := map[string]string{"SLUICE_DATA_DIR": t.TempDir()}
	g := startGateway(t, environ)
	sub := []string{"sub", "-t", "a", "-q", "1", "-i", "watch", "-c", "-C", "1", "-url", g.url("MQTT")}
	if code, _, errs := runCommand(t, nil, "", append(sub, "-W", "300ms")...); code != exitTimeout || !strings.Contains(errs, "0 of 1 messages") {
		t.Fatalf("nothing came in time, but sub ends with %d: %s", code, errs)
	}
	if code, _, errs := runCommand(t, nil, "", "pub", "-t", "a", "-m", "while away", "-q", "1", "-url", g.url("MQTT")); code != exitOK {
		t.Fatalf("pub: exit code %d, %s", code, errs)
	}
	g.stop()
	g = startGateway(t, environ)
	sub[len(sub)-1] = g.url("MQTT")
	if code, out, errs := runCommand(t, nil, "", sub...); code != exitOK || out != "while away\n" {
		t.Errorf("after a restart sub ends with %d, prints %q, %s", code, out, errs)
	}
}

func TestAccounts(t *testing.T) {
	dir := t.TempDir()
	users := filepath.Join(dir, "users")
	for _, user := range []string{"pump", "press", "gone"} {
		if code, _, errs := runCommand(t, nil, user+"'s secret\nnot this line\n", "passwd", "-f", users, user); code != exitOK {
			t.Fatalf("passwd %s: %s", user, errs)
		}
	}
	environ := map[string]string{"SLUICE_USERS_FILE": users}
	if code, _, errs := runCommand(t, environ, "", "passwd", "-d", "gone"); code != exitOK {
		t.Fatalf("passwd -d gone: %s", errs)
	}
	if code, _, _ := runCommand(t, environ, "", "passwd", "-d", "gone"); code != exitFailed {
		t.Errorf("passwd -d of an account that is not there ends with %d", code)
	}
	text, err := os.ReadFile(users)
	if err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(users); info.Mode().Perm() != 0o600 || bytes.Contains(text, []byte("secret")) {
		t.Errorf("the users file has mode %v and holds\n%s", info.Mode(), text)
	}
	if names, _ := filepath.Glob(dir + "/.*"); len(names) > 0 {
		t.Errorf("left behind: %v", names)
	}
	write(t, dir, "users", strings.Replace(string(text), "press:", "  write plant/%u/#\npress:", 1))

	g := startGateway(t, environ)
	passwordFile := write(t, dir, "password", "pump's secret\n")
	for _, c := range []struct {
		name    string
		args    []string
		environ map[string]string
		code    int
		errs    string
	}{
		{"without account", nil, nil, exitFailed, "refuses the connection: bad user name or password\n"},
		{"wrong password", []string{"-u", "pump", "-P", "x"}, nil, exitFailed, "refuses the connection: bad user name or password\n"},
		{"removed account", []string{"-u", "gone", "-P", "gone's secret"}, nil, exitFailed, "refuses the connection: bad user name or password\n"},
		{"password in a file", []string{"-u", "pump", "-password-file", passwordFile}, nil, exitOK, ""},
		{"password in the environment", nil, map[string]string{"SLUICE_CLIENT_USERNAME": "pump", "SLUICE_CLIENT_PASSWORD_FILE": passwordFile}, exitOK, ""},
		{"topic that is not granted", []string{"-u", "pump", "-password-file", passwordFile, "-t", "plant/press/x"}, nil, exitFailed, "refuses the message: not authorized\n"},
		{"the same at QoS 2", []string{"-u", "pump", "-password-file", passwordFile, "-t", "plant/press/x", "-q", "2", "-timeout", "5s"}, nil, exitFailed, "refuses the message: not authorized\n"},
		{"account without grants", []string{"-u", "press", "-P", "press's secret", "-t", "plant/press/x"}, nil, exitOK, ""},
		{"password without a user", []string{"-P", "x", "-V", "3.1.1"}, nil, exitUsage, "-u"},
	} {
		args := append([]string{"pub", "-url", g.url("MQTT"), "-t", "plant/pump/x", "-m", "1", "-q", "1"}, c.args...)
		code, _, errs := runCommand(t, c.environ, "", args...)
		if code != c.code || !strings.Contains(errs, c.errs) {
			t.Errorf("%s: exit code %d, errors %q; want %d, %q", c.name, code, errs, c.code, c.errs)
		}
	}
}

func TestPasswdIntoSymlink(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "real", "# kept\n")
	if err := os.Symlink("real", filepath.Join(dir, "users")); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := runCommand(t, nil, "x", "passwd", "-f", filepath.Join(dir, "users"), "a"); code != exitOK {
		t.Fatal(errs)
	}
	text, _ := os.ReadFile(filepath.Join(dir, "real"))
	if !strings.HasPrefix(string(text), "# kept\na:$scram-sha-256$") {
		t.Errorf("the file behind the link holds %q", text)
	}
	if code, _, _ := runCommand(t, nil, "\n", "passwd", "-f", filepath.Join(dir, "users"), "a"); code != exitFailed {
		t.Error("an empty password is set")
	}
}

// Without accounts, a listener whose address names no host is for this machine
// only, and the log says how to change that.
func TestLoopbackWithoutAccounts(t *testing.T) {
	closed := startGateway(t, nil)
	open := startGateway(t, map[string]string{"SLUICE_AUTH_ANONYMOUS": "true"})
	for title, addr := range closed.addr {
		if !strings.HasPrefix(addr, "127.0.0.1:") {
			t.Errorf("%s on %s, want 127.0.0.1 only", title, addr)
		}
	}
	for title, addr := range open.addr {
		if !strings.HasPrefix(addr, "[::]:") && !strings.HasPrefix(addr, "0.0.0.0:") {
			t.Errorf("%s on %s, want all addresses", title, addr)
		}
	}
	closed.stop()
	open.stop()
	if !strings.Contains(closed.log.String(), "SLUICE_AUTH_ANONYMOUS=true to let everybody in") {
		t.Errorf("the log does not say how to open the listeners:\n%s", closed.log)
	}
	if strings.Contains(open.log.String(), "this machine only") {
		t.Errorf("the log says that open listeners are not:\n%s", open.log)
	}
}

func TestClientsAreToldOfTheEnd(t *testing.T) {
	g := startGateway(t, nil)
	wait := subscribe(t, g, nil, "-url", g.url("MQTT"), "-t", "a")
	start := time.Now()
	g.stop()
	if code, _, errs := wait(); code != exitFailed || !strings.Contains(strings.ToLower(errs), "server shutting down") {
		t.Errorf("sub ends with %d: %s", code, errs)
	}
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("the end took %v", took)
	}
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	environ := map[string]string{"SLUICE_MQTT_ADDR": l.Addr().String(), "SLUICE_WS_ADDR": "off", "SLUICE_DATA_DIR": t.TempDir()}
	code, _, errs := runCommand(t, environ, "", "serve")
	if code != exitFailed || !strings.Contains(errs, "SLUICE_MQTT_ADDR: "+l.Addr().String()+" is in use by another program") {
		t.Errorf("with its port taken serve ends with %d: %s", code, errs)
	}
}

func TestDataDirInUse(t *testing.T) {
	environ := map[string]string{"SLUICE_DATA_DIR": t.TempDir(), "SLUICE_MQTT_ADDR": "127.0.0.1:0", "SLUICE_WS_ADDR": ":0"}
	startGateway(t, environ)
	code, _, errs := runCommand(t, environ, "", "serve")
	if code != exitFailed || !strings.Contains(errs, "SLUICE_DATA_DIR: ") {
		t.Errorf("with its data in use serve ends with %d: %s", code, errs)
	}
}

// A server that takes a connection and then says no more.
func TestNotAcknowledged(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Write((&codec.Connack{MaximumQoS: 2, MaximumPacketSize: 100}).Append(nil, codec.V5))
			go io.Copy(io.Discard, conn)
		}
	}()
	url := "mqtt://" + l.Addr().String()
	for _, c := range []struct {
		args []string
		code int
		errs string
	}{
		{[]string{"-m", "x", "-q", "0"}, exitTimeout, "not acknowledged within 200ms"},
		{[]string{"-m", "x", "-q", "1"}, exitTimeout, "not acknowledged within 200ms"},
		{[]string{"-m", "x", "-q", "2"}, exitTimeout, "not acknowledged within 200ms"},
		{[]string{"-m", strings.Repeat("x", 200)}, exitFailed, "the server takes 100"},
	} {
		code, _, errs := runCommand(t, nil, "", append([]string{"pub", "-url", url, "-t", "a", "-timeout", "200ms"}, c.args...)...)
		if code != c.code || !strings.Contains(errs, c.errs) {
			t.Errorf("pub %v: exit code %d, %q; want %d, %q", c.args, code, errs, c.code, c.errs)
		}
	}
}

// Neither sub nor pub names a method, so no AUTH may come. [MQTT-4.12.0-6]
func TestAuthNobodyAskedFor(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	told := make(chan []byte, 1)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			b := (&codec.Connack{MaximumQoS: 2}).Append(nil, codec.V5)
			conn.Write((&codec.Auth{Code: codec.ContinueAuthentication, AuthMethod: []byte("M")}).Append(b, codec.V5))
			heard, _ := io.ReadAll(conn)
			told <- heard
		}
	}()
	bye := (&codec.Disconnect{Code: codec.ProtocolError}).Append(nil, codec.V5)
	for _, args := range [][]string{{"sub"}, {"pub", "-q", "1", "-m", "x"}} {
		code, _, errs := runCommand(t, nil, "", append(args, "-url", "mqtt://"+l.Addr().String(), "-t", "a")...)
		if code != exitFailed || !strings.Contains(errs, "the server sends AUTH") {
			t.Errorf("%s: exit code %d, %q", args[0], code, errs)
		}
		if heard := <-told; !bytes.HasSuffix(heard, bye) {
			t.Errorf("%s: the server is not told, or more: % x", args[0], heard)
		}
	}
}

func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	silent := "mqtt://" + l.Addr().String()
	defer l.Close()
	for _, url := range []string{"mqtt://127.0.0.1:1", "unix:///nowhere", silent} {
		for _, args := range [][]string{{"pub", "-t", "a", "-m", "b"}, {"sub", "-t", "a"}} {
			code, _, errs := runCommand(t, nil, "", append(args, "-url", url, "-timeout", "200ms")...)
			if code != exitUnreachable || errs == "" || url == silent && !strings.Contains(errs, "no answer to CONNECT within 200ms") {
				t.Errorf("%s at %s: exit code %d, %q; want %d", args[0], url, code, errs, exitUnreachable)
			}
		}
	}
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		line string
		errs string
	}{
		{"plub", "there is no command"},
		{"help plub", "there is no command"},
		{"serve now", "an argument too many"},
		{"pub -m x", "name the topic"},
		{"pub -t a/# -m x", "-t a/#"},
		{"pub -t a", "what to publish"},
		{"pub -t a -m x -l", "what to publish"},
		{"pub -t a -m x -q 3", "0, 1 or 2"},
		{"pub -t a -m x -V 4", "5, 3.1.1 or 3.1"},
		{"pub -t a -m x -V 3.1.1 -D a=b", "MQTT 5"},
		{"pub -t a -m x -D a", "name=value"},
		{"pub -t a -m x -url http://a", "a URL begins with"},
		{"pub -t a -m x -url mqtt://a -h b", "not both"},
		{"pub -t a -m x -timeout soon", "a duration"},
		{"pub -t a -m x -password-file /none", "/none"},
		{"pub -t a -m x -cafile /none", "/none"},
		{"sub", "name a topic filter"},
		{"sub -t a/b#", "a/b#"},
		{"sub -t a -c", "-c needs -i"},
		{"pub -t a -m x -i a\xff", "-i: string is not UTF-8"},
		{"pub -t a -m x -u a\xff", "-u: string is not UTF-8"},
		{"pub -t a -m x -D a=\xff", "string is not UTF-8"},
		{"sub -t a -retained often", "always, new or never"},
		{"sub -t a -x", "-x"},
		{"config chek", "neither check nor env"},
		{"pub -t a -m x -cert /none", "give both"},
		{"passwd", "whose password"},
		{"passwd a -f users", `-f goes before "a"`},
		{"passwd a", "name the users file"},
		{"passwd -f /tmp/x *", "may not be *"},
	} {
		code, out, errs := runCommand(t, nil, "", strings.Fields(c.line)...)
		if code != exitUsage || !strings.Contains(errs, c.errs) || out != "" {
			t.Errorf("sluice %s: exit code %d, errors %q, output %q; want %d, %q", c.line, code, errs, out, exitUsage, c.errs)
		}
	}
}

func TestHelp(t *testing.T) {
	for _, v := range verbs {
		_, want, _ := runCommand(t, nil, "", "help", v.name)
		code, got, errs := runCommand(t, nil, "", v.name, "-help")
		if code != exitOK || got == "" || got != want || errs != "" {
			t.Errorf("sluice %s -help ends with %d and is not sluice help %s: %s", v.name, code, v.name, errs)
		}
	}
	if code, out, _ := runCommand(t, nil, "", "help"); code != exitOK || !strings.Contains(out, "Exit codes") {
		t.Errorf("sluice help ends with %d:\n%s", code, out)
	}
	if code, out, _ := runCommand(t, nil, "", "version"); code != exitOK || !strings.HasPrefix(out, "sluice ") {
		t.Errorf("sluice version ends with %d: %s", code, out)
	}
}

func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := t.TempDir()
	g := startGateway(t, map[string]string{"NOTIFY_SOCKET": path, "SLUICE_ENV_FILE": write(t, dir, "env", "")})
	g.reload(t, dir, "")
	g.stop()
	for _, want := range []string{"READY=1", "RELOADING=1", "READY=1", "STOPPING=1"} {
		b := make([]byte, 100)
		n, err := l.Read(b)
		if got := string(b[:n]); got != want || err != nil {
			t.Errorf("systemd is told %q, %v; want %q", got, err, want)
		}
	}
}

// A bridge carries messages between two gateways, both made from settings.
func TestBridgeBetweenGateways(t *testing.T) {
	up := startGateway(t, nil)
	here := startGateway(t, map[string]string{
		"SLUICE_BRIDGE_0_URL":         up.url("MQTT over WebSocket"),
		"SLUICE_BRIDGE_0_UP":          "plant/#",
		"SLUICE_BRIDGE_0_UP_PREFIX":   "site7/",
		"SLUICE_BRIDGE_0_DOWN":        "commands/#",
		"SLUICE_BRIDGE_0_DOWN_PREFIX": "cloud/",
	})
	wait := subscribe(t, up, nil, "-url", up.url("MQTT"), "-t", "site7/#", "-C", "2", "-v", "-q", "2")
	if code, _, errs := runCommand(t, nil, "", "pub", "-url", here.url("MQTT"), "-t", "plant/pump", "-m", "4.2", "-q", "2"); code != exitOK {
		t.Fatal(errs)
	}
	if _, out, errs := wait(); out != "site7/plant/pump 4.2\n" {
		t.Errorf("up came %q, %s", out, errs)
	}
	wait = subscribe(t, here, nil, "-url", here.url("MQTT"), "-t", "cloud/#", "-C", "2", "-v", "-q", "1")
	if code, _, errs := runCommand(t, nil, "", "pub", "-url", up.url("MQTT"), "-t", "commands/stop", "-m", "now", "-q", "1"); code != exitOK {
		t.Fatal(errs)
	}
	if _, out, errs := wait(); out != "cloud/commands/stop now\n" {
		t.Errorf("down came %q, %s", out, errs)
	}
}
