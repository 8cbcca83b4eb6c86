package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/bridge"
	"sluice/gateway"
	"sluice/store"
)

// mustRead reads settings that have to be good. DATA_DIR is set if it is not.
func mustRead(t *testing.T, environ map[string]string) *settings {
	t.Helper()
	s, err := readSettings(environ)
	if err != nil {
		t.Fatalf("faults in %v:\n%v", environ, err)
	}
	return s
}

func TestDefaults(t *testing.T) {
	t.Chdir(t.TempDir())
	s := mustRead(t, nil)
	for _, c := range []struct {
		name      string
		got, want any
	}{
		{"MQTT_ADDR", s.MQTTAddr, address(":1883")},
		{"MQTTS_ADDR", s.MQTTSAddr, address(off)},
		{"WS_ADDR", s.WSAddr, address(":8083")},
		{"WSS_ADDR", s.WSSAddr, address(off)},
		{"UNIX_PATH", s.UnixPath, off},
		{"AUTH_ANONYMOUS", s.AuthAnonymous, false},
		{"MAX_PACKET_SIZE", s.MaxPacketSize, size(1 << 20)},
		{"MAX_INFLIGHT", s.MaxInflight, uint16(512)},
		{"DATA_DIR", s.DataDir, "data"},
		{"STORE_SYNC", s.StoreSync, store.Always},
		{"STORE_LINGER", s.StoreLinger, 2 * time.Millisecond},
		{"QUEUE_POLICY", gateway.Policy(s.QueuePolicy), gateway.Reject},
		{"SHUTDOWN_TIMEOUT", s.ShutdownTimeout, 10 * time.Second},
		{"LOG_LEVEL", s.LogLevel, slog.LevelInfo},
		{"LOG_FORMAT", s.LogFormat, logFormat("text")},
		{"bridges", len(s.Bridges), 0},
	} {
		if c.got != c.want {
			t.Errorf("%s is %v by default, want %v", c.name, c.got, c.want)
		}
	}
	if _, err := os.Stat("data"); err == nil {
		t.Error("reading the settings makes the data directory")
	}
}

func TestDefaultsThatDepend(t *testing.T) {
	dir := t.TempDir()
	cert, key := makeCertificate(t, dir)
	s := mustRead(t, map[string]string{
		"STATE_DIRECTORY":     dir,
		"SLUICE_TLS_CERT":     cert,
		"SLUICE_TLS_KEY":      key,
		"SLUICE_MEMORY_LIMIT": "64MiB",
	})
	if s.MQTTSAddr != ":8883" || s.WSSAddr != ":8084" {
		t.Errorf("with a certificate, TLS is on %s and %s; want :8883 and :8084", s.MQTTSAddr, s.WSSAddr)
	}
	if s.DataDir != dir {
		t.Errorf("under systemd the data is in %s, want %s", s.DataDir, dir)
	}
	if s.StoreMaxBytes != 32<<20 || s.QueueMaxBytes != 32<<20 {
		t.Errorf("on a box of 64 MiB, %v may wait in all and %v in one queue; want 32MiB", s.StoreMaxBytes, s.QueueMaxBytes)
	}
}

func TestValues(t *testing.T) {
	dir := t.TempDir()
	s := mustRead(t, map[string]string{
		"PATH":                               "/bin",
		"SLUICE_DATA_DIR":                    filepath.Join(dir, "not/yet/there"),
		"SLUICE_MQTT_ADDR":                   "[::1]:0",
		"SLUICE_WS_ADDR":                     "off",
		"SLUICE_UNIX_PATH":                   "/run/sluice.sock",
		"SLUICE_AUTH_ANONYMOUS":              "true",
		"SLUICE_PROXY_FROM":                  "10.0.0.0/8, ::1",
		"SLUICE_MAX_PACKET_SIZE":             "256MiB",
		"SLUICE_STORE_MAX_BYTES":             "100MB",
		"SLUICE_QUEUE_MAX_BYTES":             "5000000",
		"SLUICE_QUEUE_POLICY":                "drop-oldest",
		"SLUICE_STORE_SYNC":                  "interval",
		"SLUICE_MAX_SESSION_EXPIRY":          "720h",
		"SLUICE_LOG_LEVEL":                   "debug",
		"SLUICE_LOG_FORMAT":                  "", // as if not set
		"SLUICE_BRIDGE_0_URL":                "wss://cloud.example/mqtt",
		"SLUICE_BRIDGE_0_UP":                 "plant/# 1, alarms/+,a b/c 0, s/+ 1 -> t/$1 retain=off",
		"SLUICE_BRIDGE_1_URL":                "mqtt://other.example, ws://third.example",
		"SLUICE_BRIDGE_1_NAME":               "other",
		"SLUICE_BRIDGE_1_DOWN":               "$share/g/commands/#",
		"SLUICE_BRIDGE_1_KEEPALIVE":          "auto",
		"SLUICE_BRIDGE_1_USERNAME":           "me",
		"SLUICE_BRIDGE_1_QUEUE_MAX_BYTES":    "1MiB",
		"SLUICE_BRIDGE_1_QUEUE_MAX_MESSAGES": "1000",
		"SLUICE_BRIDGE_1_QUEUE_MAX_AGE":      "36h",
		"SLUICE_BRIDGE_1_QUEUE_POLICY":       "reject",
		"SLUICE_BRIDGE_1_PASSWORD_FILE":      write(t, dir, "password", "s3cret \r\n"),
	})
	for _, c := range []struct{ got, want any }{
		{s.MQTTAddr, address("[::1]:0")},
		{s.WSAddr, address(off)},
		{s.UnixPath, "/run/sluice.sock"},
		{s.AuthAnonymous, true},
		{s.ProxyFrom.String(), "10.0.0.0/8,::1/128"},
		{s.MaxPacketSize, size(256 << 20)},
		{s.StoreMaxBytes, size(100e6)},
		{s.QueueMaxBytes, size(5e6)},
		{gateway.Policy(s.QueuePolicy), gateway.DropOldest},
		{s.StoreSync, store.Interval},
		{s.MaxSessionExpiry, 720 * time.Hour},
		{s.LogLevel, slog.LevelDebug},
		{s.LogFormat, logFormat("text")},
		{len(s.Bridges), 2},
		{s.Bridges[0].Name, "0"},
		{s.Bridges[0].Up, rules{{Filter: "plant/#", QoS: 1}, {Filter: "alarms/+", QoS: 2}, {Filter: "a b/c", QoS: 0}, {Filter: "s/+", QoS: 1, To: "t/$1", Retain: bridge.RetainOff}}},
		{s.Bridges[0].Up.String(), "plant/# 1,alarms/+ 2,a b/c 0,s/+ 1 -> t/$1 retain=off"},
		{s.Bridges[0].MaxHops, 4},
		{s.Bridges[0].QueueMaxBytes, size(5e6)},
		{gateway.Policy(*s.Bridges[0].QueuePolicy), gateway.DropOldest},
		{s.Bridges[1].QueueMaxBytes, size(1 << 20)},
		{gateway.Policy(*s.Bridges[1].QueuePolicy), gateway.Reject},
		{s.Bridges[1].QueueMaxMessages, 1000},
		{s.Bridges[1].QueueMaxAge, 36 * time.Hour},
		{s.Bridges[0].tls != nil, true},
		{s.Bridges[1].Name, "other"},
		{s.Bridges[1].Down, rules{{Filter: "$share/g/commands/#", QoS: 2}}},
		{s.Bridges[1].Password, secret("s3cret ")},
		{s.Bridges[0].KeepAlive, keepAlive{time.Minute, false}},
		{s.Bridges[1].KeepAlive, keepAlive{time.Minute, true}},
		{s.Bridges[1].tls == nil, true},
	} {
		if !reflect.DeepEqual(c.got, c.want) {
			t.Errorf("got %v, want %v", c.got, c.want)
		}
	}
	for i := range s.Bridges {
		if _, err := bridge.New(s.Bridges[i].config(s, nil, nil)); err != nil {
			t.Errorf("the settings are good, but bridge.New finds: %v", err)
		}
	}
}

// TestFaults names, for each environment, each of its faults.
func TestFaults(t *testing.T) {
	dir := t.TempDir()
	cert, key := makeCertificate(t, dir)
	otherCert, _ := makeCertificate(t, t.TempDir())
	file := write(t, dir, "file", "just text\n")
	for name, c := range map[string]struct {
		environ map[string]string
		faults  []string
	}{
		"misspelt": {
			map[string]string{"SLUICE_MQT_ADDR": ":1", "SLUICE_BRIDGE_0_ULR": "x", "SLUICE_BRIDGE_URL": "x", "SLUICE_COLOUR": "red", "SLUICED": "x", "SLUICE_BRIDGE_00_URL": "x", "SLUICE_BRIDGE_0_BATCH": "10s", "SLUICE_HTTP_PORT": "80"},
			[]string{
				"SLUICE_BRIDGE_00_URL: there is no such setting: SLUICE_BRIDGE_n_URL, perhaps?",
				"SLUICE_BRIDGE_0_BATCH: there is no such setting: sluice config lists them",
				"SLUICE_BRIDGE_0_ULR: there is no such setting: SLUICE_BRIDGE_0_URL, perhaps?",
				"SLUICE_BRIDGE_URL: there is no such setting: SLUICE_BRIDGE_n_URL, perhaps?",
				"SLUICE_COLOUR: there is no such setting: sluice config lists them",
				"SLUICE_HTTP_PORT: there is no such setting: SLUICE_HTTP_ADDR, perhaps?",
				"SLUICE_MQT_ADDR: there is no such setting: SLUICE_MQTT_ADDR, perhaps?",
				"SLUICE_BRIDGE_0_URL: missing: set it to the upstream",
				"SLUICE_BRIDGE_0_UP: neither UP nor DOWN is set",
			},
		},
		"bad values": {
			map[string]string{
				"SLUICE_MQTT_ADDR": "1883", "SLUICE_WS_ADDR": "localhost:http", "SLUICE_MAX_INFLIGHT": "70000", "SLUICE_MAX_CONNECTIONS": "-1",
				"SLUICE_MAX_PACKET_SIZE": "1M", "SLUICE_STORE_MAX_BYTES": "9223372036854775807GiB", "SLUICE_STORE_LINGER": "2", "SLUICE_MAX_KEEPALIVE": "-1s",
				"SLUICE_AUTH_ANONYMOUS": "yes", "SLUICE_LOG_LEVEL": "loud", "SLUICE_LOG_FORMAT": "xml", "SLUICE_QUEUE_POLICY": "drop",
				"SLUICE_PROXY_FROM": "10.0.0.0/8,lan", "SLUICE_CLIENT_URL": "",
			},
			[]string{
				`SLUICE_MQTT_ADDR: "1883" lacks a colon: write :1883`,
				`SLUICE_WS_ADDR: "localhost:http" has no port`,
				`SLUICE_PROXY_FROM: "lan" is not an address`,
				`SLUICE_AUTH_ANONYMOUS: "yes" is neither true nor false`,
				`SLUICE_MAX_PACKET_SIZE: "1M" is not a size`,
				`SLUICE_MAX_INFLIGHT: "70000" is not a whole number up to 65535`,
				`SLUICE_STORE_LINGER: "2" is not a duration`,
				`SLUICE_STORE_MAX_BYTES: "9223372036854775807GiB" is not a size`,
				`SLUICE_QUEUE_POLICY: "drop" is none of reject, drop-oldest, drop-newest`,
				`SLUICE_LOG_LEVEL: "loud" is none of debug, info, warn, error`,
				`SLUICE_LOG_FORMAT: "xml" is neither text nor json`,
				`SLUICE_MAX_KEEPALIVE: -1s is negative`,
				`SLUICE_MAX_CONNECTIONS: -1 is less than 0`,
			},
		},
		"out of range": {
			map[string]string{"SLUICE_MAX_PACKET_SIZE": "257MiB", "SLUICE_MAX_INFLIGHT": "0", "SLUICE_STORE_MAX_BYTES": "2MiB", "SLUICE_QUEUE_MAX_BYTES": "3MiB", "SLUICE_MEMORY_LIMIT": "1MiB"},
			[]string{
				"SLUICE_MAX_PACKET_SIZE: 257MiB is more than 256MiB",
				"SLUICE_MAX_INFLIGHT: 0 is less than 1",
				"SLUICE_QUEUE_MAX_BYTES: 3MiB is more than the 2MiB of SLUICE_STORE_MAX_BYTES",
				"SLUICE_MEMORY_LIMIT: 1MiB is less than 16MiB",
			},
		},
		"certificate without key": {
			map[string]string{"SLUICE_TLS_CERT": cert},
			[]string{"SLUICE_TLS_KEY: missing, but there is SLUICE_TLS_CERT"},
		},
		"key without certificate": {
			map[string]string{"SLUICE_TLS_KEY": key, "SLUICE_WSS_ADDR": ":1", "SLUICE_TLS_CLIENT_CA": cert},
			[]string{
				"SLUICE_TLS_CERT: missing, but there is SLUICE_TLS_KEY",
				"SLUICE_WSS_ADDR: TLS needs a certificate",
				"SLUICE_TLS_CLIENT_CA: set, but SLUICE_TLS_CERT is not",
			},
		},
		"another's key": {
			map[string]string{"SLUICE_TLS_CERT": otherCert, "SLUICE_TLS_KEY": key, "SLUICE_TLS_CLIENT_CA": file},
			[]string{
				"SLUICE_TLS_CERT: " + otherCert + " with the key " + key + ": tls: private key does not match public key",
				"SLUICE_TLS_CLIENT_CA: " + file + " holds no certificate in PEM",
			},
		},
		"files that are not there": {
			map[string]string{"SLUICE_TLS_CERT": cert, "SLUICE_TLS_KEY": dir + "/none", "SLUICE_USERS_FILE": dir + "/users"},
			[]string{
				"SLUICE_TLS_KEY: open " + dir + "/none: no such file",
				"SLUICE_USERS_FILE: open " + dir + "/users: no such file or directory: sluice passwd -f ",
			},
		},
		"users file": {
			map[string]string{"SLUICE_USERS_FILE": write(t, dir, "bad", "one\n read a\ntwo\n")},
			[]string{"SLUICE_USERS_FILE: " + dir + "/bad:1: neither", "SLUICE_USERS_FILE: " + dir + "/bad:3: neither"},
		},
		"data directory": {
			map[string]string{"SLUICE_DATA_DIR": file + "/data"},
			[]string{"SLUICE_DATA_DIR: "},
		},
		"http": {
			map[string]string{"SLUICE_HTTP_ADDR": "8080"},
			[]string{`SLUICE_HTTP_ADDR: "8080" lacks a colon: write :8080`},
		},
		"http where MQTT is": {
			map[string]string{"SLUICE_HTTP_ADDR": "127.0.0.1:1883", "SLUICE_MQTT_ADDR": "127.0.0.1:1883"},
			[]string{"SLUICE_HTTP_ADDR: 127.0.0.1:1883 is taken by SLUICE_MQTT_ADDR"},
		},
		"open to all without accounts": {
			map[string]string{"SLUICE_MQTT_ADDR": "0.0.0.0:1883", "SLUICE_WS_ADDR": "gateway.local:1"},
			[]string{
				"SLUICE_MQTT_ADDR: 0.0.0.0:1883 is reached from other machines, but there are no accounts: set SLUICE_USERS_FILE",
				"SLUICE_WS_ADDR: gateway.local:1 is reached from other machines",
			},
		},
		"nothing to do": {
			map[string]string{"SLUICE_MQTT_ADDR": "off", "SLUICE_WS_ADDR": "off", "SLUICE_SN_DTLS_ONLY": "a/#"},
			[]string{
				"SLUICE_SN_DTLS_ONLY: set, but SLUICE_SN_ADDR and SLUICE_SN_DTLS_ADDR are off",
				"SLUICE_MQTT_ADDR: off, as are all other ways in, and there is no bridge",
			},
		},
		"one port twice": {
			map[string]string{"SLUICE_WS_ADDR": ":1883"},
			[]string{"SLUICE_WS_ADDR: :1883 is taken by SLUICE_MQTT_ADDR"},
		},
		"faults in the second of two bridges, with a gap between them": {
			map[string]string{
				"SLUICE_BRIDGE_0_URL": "mqtt://a", "SLUICE_BRIDGE_0_UP": "a",
				"SLUICE_BRIDGE_2_URL": "ftp://a", "SLUICE_BRIDGE_2_UP": "a 1,,b/#/c,b,d 7", "SLUICE_BRIDGE_2_DOWN": "a/# 3", "SLUICE_BRIDGE_2_KEEPALIVE": "soon",
			},
			[]string{
				`SLUICE_BRIDGE_2_DOWN: "a/# 3" asks for QoS 3: a quality of service is 0, 1 or 2`,
				`SLUICE_BRIDGE_2_UP: a topic filter is missing`,
				`SLUICE_BRIDGE_2_UP: "b/#/c" is not a topic filter`,
				`SLUICE_BRIDGE_2_UP: "d 7" asks for QoS 7`,
				`SLUICE_BRIDGE_2_KEEPALIVE: "soon" is neither auto, auto:20s nor a duration`,
				"SLUICE_BRIDGE_2_URL: the URL of an upstream begins with mqtt://, mqtts://, ws:// or wss://",
			},
		},
		"faults in two bridges": {
			map[string]string{
				"SLUICE_BRIDGE_0_URL": "mqtt://me:secret@a", "SLUICE_BRIDGE_0_UP": "a/#/b", "SLUICE_BRIDGE_0_MAX_INFLIGHT": "x",
				"SLUICE_BRIDGE_1_URL": "mqtt://", "SLUICE_BRIDGE_1_UP": "$share/g/a", "SLUICE_BRIDGE_1_NAME": "0", "SLUICE_BRIDGE_1_UP_PREFIX": "#/",
				"SLUICE_BRIDGE_1_PASSWORD": "x", "SLUICE_BRIDGE_1_KEEPALIVE": "1500ms",
				"SLUICE_BRIDGE_2_URL": "mqtt://b", "SLUICE_BRIDGE_2_DOWN": "a", "SLUICE_BRIDGE_2_CA": cert,
			},
			[]string{
				`SLUICE_BRIDGE_0_UP: "a/#/b" is not a topic filter`,
				`SLUICE_BRIDGE_0_MAX_INFLIGHT: "x" is not a whole number`,
				"SLUICE_BRIDGE_0_URL: a user name in the URL would show in logs",
				"SLUICE_BRIDGE_1_KEEPALIVE: 1.5s is not a number of whole seconds",
				"SLUICE_BRIDGE_1_URL: mqtt:// names no host",
				"SLUICE_BRIDGE_1_UP: $share/g/a: $share is for topics that come down",
				"SLUICE_BRIDGE_1_PASSWORD: set, but SLUICE_BRIDGE_1_USERNAME is not",
				`SLUICE_BRIDGE_1_NAME: "0" is the name of SLUICE_BRIDGE_0 already`,
				`SLUICE_BRIDGE_1_UP_PREFIX: "#/" holds + or #`,
				"SLUICE_BRIDGE_2_CA: set, but mqtt:// is without TLS",
			},
		},
		"topics of more levels than there are": {
			map[string]string{
				"SLUICE_SN_PREDEFINED": "1=" + strings.Repeat("a/", 200) + "a",
				"SLUICE_BRIDGE_0_URL":  "mqtt://a", "SLUICE_BRIDGE_0_UP": "a," + strings.Repeat("+/", 200) + "#",
				"SLUICE_BRIDGE_1_URL": "mqtt://a", "SLUICE_BRIDGE_1_DOWN": strings.Repeat("b/", 300) + "b -> b,c -> " + strings.Repeat("c/", 200) + "c",
				"SLUICE_BRIDGE_2_URL": "mqtt://a", "SLUICE_BRIDGE_2_DOWN": "$share/g/a", "SLUICE_BRIDGE_2_DOWN_PREFIX": strings.Repeat("d/", 200),
				"SLUICE_BRIDGE_3_URL": "mqtt://a", "SLUICE_BRIDGE_3_DOWN": "$share/g/a", "SLUICE_BRIDGE_3_DOWN_PREFIX": strings.Repeat("d/", 199),
			},
			[]string{
				`SLUICE_SN_PREDEFINED: line 1: topic "a/a/a`,
				`SLUICE_BRIDGE_0_UP: "+/+/+`,
				`SLUICE_BRIDGE_1_DOWN: "c/c/c`,
				`SLUICE_BRIDGE_2_DOWN: "d/d/d`,
			},
		},
		"the line of a bridge": {
			map[string]string{
				"SLUICE_BRIDGE_0_URL": "mqtt://a", "SLUICE_BRIDGE_0_UP": "a",
				"SLUICE_BRIDGE_0_KEEPALIVE": "auto:0s", "SLUICE_BRIDGE_0_ACK_TIMEOUT": "10ms", "SLUICE_BRIDGE_0_EXTENSIONS": "username",
				"SLUICE_BRIDGE_1_URL": "mqtt://a", "SLUICE_BRIDGE_1_UP": "a", "SLUICE_BRIDGE_1_EXTENSIONS": "yes",
				"SLUICE_BRIDGE_2_URL": "mqtt://a,", "SLUICE_BRIDGE_2_UP": "a", "SLUICE_BRIDGE_2_REDIRECT_ALLOW": "b,c:1883,*",
				"SLUICE_BRIDGE_3_URL": "mqtt://a, mqtt://b ,mqtt://a", "SLUICE_BRIDGE_3_UP": "a", "SLUICE_BRIDGE_3_FAILBACK": "-1s",
				"SLUICE_BRIDGE_4_URL": "mqtt://a,http://b", "SLUICE_BRIDGE_4_UP": "a",
				"SLUICE_BRIDGE_5_URL": "mqtt://a", "SLUICE_BRIDGE_5_UP": "a", "SLUICE_BRIDGE_5_PROXY": "ftp://p", "SLUICE_BRIDGE_5_PROXY_PASSWORD": "x",
				"SLUICE_BRIDGE_5_INTERFACE": "a name that is too long", "SLUICE_BRIDGE_5_SOURCE_ADDR": "eth0",
				"SLUICE_BRIDGE_6_URL": "mqtt://a", "SLUICE_BRIDGE_6_UP": "a", "SLUICE_BRIDGE_6_PROXY": "http://me:secret@p", "SLUICE_BRIDGE_6_PROXY_USERNAME": strings.Repeat("x", 256),
			},
			[]string{
				"SLUICE_BRIDGE_0_KEEPALIVE: 0s is not a number of whole seconds",
				"SLUICE_BRIDGE_0_ACK_TIMEOUT: 10ms is not from 1s to 1h",
				"SLUICE_BRIDGE_0_EXTENSIONS: username, but there is no SLUICE_BRIDGE_0_USERNAME to mark",
				`SLUICE_BRIDGE_1_EXTENSIONS: "yes" is none of off, listener, flag, username, clientid`,
				"SLUICE_BRIDGE_2_URL: a URL is missing, or there is a comma too many",
				`SLUICE_BRIDGE_2_REDIRECT_ALLOW: "c:1883" is not a host such as`,
				`SLUICE_BRIDGE_2_REDIRECT_ALLOW: "*" is not a host such as`,
				"SLUICE_BRIDGE_3_URL: mqtt://a is in the list twice",
				"SLUICE_BRIDGE_3_FAILBACK: -1s is negative",
				"SLUICE_BRIDGE_4_URL: the URL of an upstream begins with",
				"SLUICE_BRIDGE_5_PROXY: a proxy is http://host:port or socks5://host:port, not ftp://",
				"SLUICE_BRIDGE_5_PROXY_PASSWORD: set, but SLUICE_BRIDGE_5_PROXY_USERNAME is not",
				`SLUICE_BRIDGE_5_INTERFACE: "a name that is too long" is not the name of a network interface`,
				`SLUICE_BRIDGE_5_SOURCE_ADDR: "eth0" is not an address such as`,
				"SLUICE_BRIDGE_6_PROXY: a user name in the proxy's URL would show in logs",
				"SLUICE_BRIDGE_6_PROXY_USERNAME: longer than 255 bytes",
			},
		},
		"what would be found out later": {
			map[string]string{
				"SLUICE_BRIDGE_0_URL": "mqtt://a:99999", "SLUICE_BRIDGE_0_UP": "a", "SLUICE_BRIDGE_0_PROXY": "http://p:99999",
				"SLUICE_BRIDGE_1_URL": "mqtt://a:0", "SLUICE_BRIDGE_1_UP": "a", "SLUICE_BRIDGE_1_NAME": "\xff", "SLUICE_BRIDGE_1_CLIENT_ID": "x",
				"SLUICE_BRIDGE_2_URL": "mqtt://a", "SLUICE_BRIDGE_2_UP": "a", "SLUICE_BRIDGE_2_NAME": strings.Repeat("/", 100),
			},
			[]string{
				"SLUICE_BRIDGE_0_URL: there is no port 99999: 1 to 65535",
				"SLUICE_BRIDGE_0_PROXY: there is no port 99999: 1 to 65535",
				"SLUICE_BRIDGE_1_URL: there is no port 0: 1 to 65535",
				`SLUICE_BRIDGE_1_NAME: "\xff": string is not UTF-8 or holds U+0000`,
				"SLUICE_BRIDGE_2_NAME: too long for the name of a file: 75 bytes at most are always good",
			},
		},
		"batches": {
			map[string]string{
				"SLUICE_BATCH_DICTIONARIES": key + ",/not/there",
				"SLUICE_BRIDGE_0_URL":       "mqtt://a", "SLUICE_BRIDGE_0_UP": "a", "SLUICE_BRIDGE_0_BATCH_UNASKED": "true",
				"SLUICE_BRIDGE_1_URL": "mqtt://a", "SLUICE_BRIDGE_1_UP": "a 1 batch=2h",
				"SLUICE_BRIDGE_2_URL": "mqtt://a", "SLUICE_BRIDGE_2_DOWN": "a batch=1s",
				"SLUICE_BRIDGE_3_URL": "mqtt://a", "SLUICE_BRIDGE_3_UP": "a batch=1s", "SLUICE_BRIDGE_3_BATCH_DICTIONARY": os.DevNull,
			},
			[]string{
				"SLUICE_BATCH_DICTIONARIES: set, but SLUICE_BATCHES is not true",
				"SLUICE_BATCH_DICTIONARIES: open /not/there: no such file",
				"SLUICE_BRIDGE_0_BATCH_UNASKED: set, but no rule of SLUICE_BRIDGE_0_UP has batch=",
				`SLUICE_BRIDGE_1_UP: "a 1 batch=2h" has batch=2h: write how long a message may wait for others, such as batch=10s, up to 1h`,
				"SLUICE_BRIDGE_2_DOWN: a: batch=1s is for topics that go up",
				"SLUICE_BRIDGE_3_BATCH_DICTIONARY: /dev/null: a dictionary has 0 bytes: write messages as they usually are into it",
			},
		},
		"topics": {
			map[string]string{
				"SLUICE_BRIDGE_0_URL": "mqtt://a", "SLUICE_BRIDGE_0_UP": "s/# 1,s/+/x", "SLUICE_BRIDGE_0_MAX_HOPS": "256",
				"SLUICE_BRIDGE_1_URL": "mqtt://a", "SLUICE_BRIDGE_1_UP": "s/+ -> t/$2", "SLUICE_BRIDGE_1_DOWN": "u/+ -> v",
				"SLUICE_BRIDGE_2_URL": "mqtt://a", "SLUICE_BRIDGE_2_UP": "s/+/t -> t//u", "SLUICE_BRIDGE_2_DOWN": "u retain=yes",
			},
			[]string{
				"SLUICE_BRIDGE_0_UP: s/+/x never gets its turn, since s/# before it matches all that it does: write it in front",
				"SLUICE_BRIDGE_0_MAX_HOPS: 256 is more than 255",
				"SLUICE_BRIDGE_1_UP: s/+ -> t/$2: there is no $2, the filter has 1 wildcard",
				`SLUICE_BRIDGE_2_DOWN: "u retain=yes" has retain=yes: write retain=on or retain=off`,
				"SLUICE_BRIDGE_2_UP: s/+/t -> t//u has an empty level: if a shell took $1 out of it, write the setting between single quotes",
			},
		},
		"bounds of a bridge": {
			map[string]string{
				"SLUICE_BRIDGE_0_URL": "mqtt://a", "SLUICE_BRIDGE_0_UP": "a", "SLUICE_STORE_MAX_BYTES": "10MiB", "SLUICE_BRIDGE_0_QUEUE_MAX_BYTES": "11MiB",
				"SLUICE_BRIDGE_0_QUEUE_MAX_MESSAGES": "-1", "SLUICE_BRIDGE_0_QUEUE_MAX_AGE": "10ms", "SLUICE_BRIDGE_0_QUEUE_POLICY": "drop",
				"SLUICE_BRIDGE_0_DRAIN_MESSAGES": "-1", "SLUICE_BRIDGE_0_DRAIN_BYTES": "2GiB",
			},
			[]string{
				`SLUICE_BRIDGE_0_QUEUE_POLICY: "drop" is none of reject, drop-oldest, drop-newest`,
				"SLUICE_BRIDGE_0_QUEUE_MAX_BYTES: 11MiB is more than the 10MiB of SLUICE_STORE_MAX_BYTES",
				"SLUICE_BRIDGE_0_QUEUE_MAX_MESSAGES: -1 is less than 0",
				"SLUICE_BRIDGE_0_QUEUE_MAX_AGE: 10ms is less than 1s",
				"SLUICE_BRIDGE_0_DRAIN_MESSAGES: -1 is less than 0",
				"SLUICE_BRIDGE_0_DRAIN_BYTES: 2GiB is more than 1000000000",
			},
		},
		"no way back": {
			map[string]string{"SLUICE_BRIDGE_0_URL": "mqtt://a", "SLUICE_BRIDGE_0_UP": "s", "SLUICE_BRIDGE_0_DOWN": "u/+ -> v"},
			[]string{"SLUICE_BRIDGE_0_DOWN: u/+ -> v leaves out $1, so a response topic has no way back through it: use each wildcard"},
		},
		"round and round": {
			map[string]string{
				"SLUICE_BRIDGE_0_URL": "mqtt://a", "SLUICE_BRIDGE_0_NAME": "first", "SLUICE_BRIDGE_0_UP": "s/#", "SLUICE_BRIDGE_0_DOWN": "t/#",
				"SLUICE_BRIDGE_1_URL": "mqtt://a:1883", "SLUICE_BRIDGE_1_NAME": "second", "SLUICE_BRIDGE_1_UP": "#",
			},
			[]string{`SLUICE_BRIDGE_0_DOWN: t/# comes down to where bridge "second" sends it up again, round and round`},
		},
		"secrets": {
			map[string]string{
				"SLUICE_BRIDGE_0_URL": "mqtt://a", "SLUICE_BRIDGE_0_UP": "a", "SLUICE_BRIDGE_0_USERNAME": "me",
				"SLUICE_BRIDGE_0_PASSWORD": "x", "SLUICE_BRIDGE_0_PASSWORD_FILE": file,
				"SLUICE_CLIENT_PASSWORD_FILE": dir + "/none",
			},
			[]string{
				"SLUICE_CLIENT_PASSWORD_FILE: open " + dir + "/none: no such file",
				"SLUICE_BRIDGE_0_PASSWORD: set along with SLUICE_BRIDGE_0_PASSWORD_FILE: keep one",
			},
		},
		"an empty secret": {
			map[string]string{
				"SLUICE_BRIDGE_0_URL": "mqtt://a", "SLUICE_BRIDGE_0_UP": "a", "SLUICE_BRIDGE_0_USERNAME": "me",
				"SLUICE_BRIDGE_0_PASSWORD_FILE": write(t, dir, "empty", "\n"),
			},
			[]string{"SLUICE_BRIDGE_0_PASSWORD_FILE: " + dir + "/empty is empty"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if c.environ["SLUICE_DATA_DIR"] == "" {
				c.environ["SLUICE_DATA_DIR"] = dir
			}
			_, err := readSettings(c.environ)
			var got []string
			if err != nil {
				got = strings.Split(err.Error(), "\n")
			}
			slices.Sort(got)
			slices.Sort(c.faults)
			for i := range max(len(got), len(c.faults)) {
				switch {
				case i >= len(got):
					t.Errorf("not found: %s", c.faults[i])
				case i >= len(c.faults):
					t.Errorf("a fault too many: %s", got[i])
				case !strings.HasPrefix(got[i], c.faults[i]):
					t.Errorf("got  %s\nwant %s", got[i], c.faults[i])
				}
			}
		})
	}
}

// Root may write everywhere but to what is not a place to write.
func TestDataDirNotWritable(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		dir = "/proc"
	}
	if err := writable(filepath.Join(dir, "data")); err == nil {
		t.Errorf("%s is said to be writable", dir)
	}
}

// A setting that no text explains is not one.
func TestEverySettingHasAMeaning(t *testing.T) {
	for _, v := range allVariables(nil, new(settings)) {
		if v.Meaning == "" || strings.HasSuffix(v.Meaning, ".") {
			t.Errorf("%s: the meaning %q is not one sentence without a full stop", v.Name, v.Meaning)
		}
	}
}

// What the environment file says are the defaults are the defaults: with all of
// them set, the settings are what they are with none.
func TestEnvironmentFileHoldsTheDefaults(t *testing.T) {
	t.Chdir(t.TempDir())
	environ := make(map[string]string)
	for line := range strings.Lines(environmentFile()) {
		if name, value, ok := strings.Cut(strings.TrimSpace(strings.TrimPrefix(line, "#")), "="); ok && strings.HasPrefix(line, "#SLUICE_") {
			if !strings.HasPrefix(name, "SLUICE_BRIDGE_") {
				environ[name] = value
			}
		}
	}
	if len(environ) < 20 {
		t.Fatalf("the environment file has %d variables only", len(environ))
	}
	got, want := mustRead(t, environ), mustRead(t, nil)
	if got.environ = want.environ; !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// deploy/sluice.env is what sluice config env writes.
func TestEnvironmentFileIsDeployed(t *testing.T) {
	got, err := os.ReadFile("../../deploy/sluice.env")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != environmentFile() {
		t.Error("deploy/sluice.env is not up to date: go run ./cmd/sluice config env > deploy/sluice.env")
	}
}

func TestConfigShowsOrigins(t *testing.T) {
	dir := t.TempDir()
	environ := map[string]string{
		"SLUICE_DATA_DIR":               dir,
		"SLUICE_BRIDGE_0_URL":           "mqtts://cloud.example",
		"SLUICE_BRIDGE_0_UP":            "plant/#",
		"SLUICE_BRIDGE_0_USERNAME":      "me",
		"SLUICE_BRIDGE_0_PASSWORD_FILE": write(t, dir, "password", "s3cret\n"),
		"SLUICE_CLIENT_PASSWORD":        "t0psecret",
		"SLUICE_ENV_FILE":               write(t, dir, "env", "# more\nSLUICE_LOG_FORMAT=json\nSLUICE_BRIDGE_0_DOWN='a/#'\nSLUICE_DATA_DIR=/other\n"),
	}
	code, out, _ := runCommand(t, environ, "", "config", "-json")
	if code != exitOK {
		t.Fatalf("sluice config -json ends with %d", code)
	}
	var list []variable
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatal(err)
	}
	want := map[string][2]string{ // value, origin
		"SLUICE_DATA_DIR":          {dir, "environment"},
		"SLUICE_MQTT_ADDR":         {":1883", "default"},
		"SLUICE_BRIDGE_0_UP":       {"plant/# 2", "environment"},
		"SLUICE_BRIDGE_0_PASSWORD": {"(hidden)", "file " + dir + "/password"},
		"SLUICE_CLIENT_PASSWORD":   {"(hidden)", "environment"},
		"SLUICE_MAX_KEEPALIVE":     {"0s", "default"},
		"SLUICE_SHUTDOWN_TIMEOUT":  {"10s", "default"},
		"SLUICE_LOG_LEVEL":         {"info", "default"},
		"SLUICE_LOG_FORMAT":        {"json", "file " + dir + "/env:2"},
		"SLUICE_BRIDGE_0_DOWN":     {"a/# 2", "file " + dir + "/env:3"},
		"SLUICE_ENV_FILE":          {dir + "/env", "environment"},
	}
	for _, v := range list {
		if w, ok := want[v.Name]; ok {
			if v.Value != w[0] || v.Origin != w[1] {
				t.Errorf("%s is %q from %q, want %q from %q", v.Name, v.Value, v.Origin, w[0], w[1])
			}
			delete(want, v.Name)
		}
	}
	for name := range want {
		t.Errorf("%s is not listed", name)
	}
	if _, example, _ := runCommand(t, nil, "", "config"); !strings.Contains(example, "SLUICE_BRIDGE_n_MAX_INFLIGHT=0\n") {
		t.Error("the example of a bridge is not shown with its defaults")
	}
	_, text, _ := runCommand(t, environ, "", "config")
	if strings.Contains(out+text, "s3cret") || strings.Contains(out+text, "t0psecret") {
		t.Error("sluice config shows a secret")
	}
	environ["SLUICE_BRIDGE_0_URL"] = "mqtts://me:s3cret@cloud.example"
	if code, out, errs := runCommand(t, environ, "", "config"); code != exitUsage || strings.Contains(out+errs, "s3cret") {
		t.Errorf("a password in a URL is shown, or taken: exit code %d, %s", code, errs)
	}
	if !strings.Contains(text, "\n  SLUICE_BRIDGE_0_PASSWORD=(hidden)\n      Password at the upstream; or SLUICE_BRIDGE_0_PASSWORD_FILE, a file that holds it\n"+
		"      from the file "+dir+"/password; default: none\n") {
		t.Errorf("sluice config explains the bridge's password otherwise than expected:\n%s", text)
	}
}

func TestConfigCheck(t *testing.T) {
	environ := map[string]string{"SLUICE_DATA_DIR": t.TempDir()}
	if code, out, _ := runCommand(t, environ, "", "config", "check"); code != exitOK || out == "" {
		t.Errorf("good settings: exit code %d, output %q", code, out)
	}
	environ["SLUICE_BRIDGE_3_URL"], environ["SLUICE_BRIDGE_3_UP"], environ["SLUICE_BRIDGE_3_INTERFACE"] = "mqtt://a", "a", "nosuch0"
	if code, out, errs := runCommand(t, environ, "", "config", "check"); code != exitOK || out == "" || !strings.Contains(errs, "SLUICE_BRIDGE_3_INTERFACE: there is no network interface nosuch0") {
		t.Errorf("an interface that is not there yet: exit code %d, output %q, errors %q", code, out, errs)
	}
	environ["SLUICE_STORE_SINC"] = "always"
	environ["SLUICE_MAX_INFLIGHT"] = "-1"
	for _, args := range [][]string{{"config", "check"}, {"config"}, {"serve"}, {}} {
		code, _, errs := runCommand(t, environ, "", args...)
		if code != exitUsage || !strings.Contains(errs, "SLUICE_STORE_SYNC, perhaps?") || !strings.Contains(errs, "SLUICE_MAX_INFLIGHT: ") {
			t.Errorf("sluice %v with faults: exit code %d, errors %q", args, code, errs)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"kitten", "sitting", 3}, {"ADDR", "ADR", 1}, {"ab", "ba", 2}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("from %q to %q it is %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]size{
		"0": 0, "5000000": 5000000, "64KiB": 65536, "64 kib": 65536, "64KB": 64000, "1GiB": 1 << 30, "3B": 3,
	} {
		var s, again size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%q is %d bytes, %v; want %d", text, s, err, want)
		}
		if err := again.UnmarshalText([]byte(s.String())); err != nil || again != s {
			t.Errorf("%q is written as %q, which reads as %d, %v", text, s, again, err)
		}
	}
	for _, text := range []string{"KiB", "1K", "-1", "1.5MiB", "9999999999GiB", "x"} {
		if err := new(size).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken for a size", text)
		}
	}
}

func TestGroupMemory(t *testing.T) {
	root := t.TempDir()
	for path, text := range map[string]string{"memory.max": "max\n", "a/memory.max": "1000\n", "a/b/memory.max": "2000\n"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, path)), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, root, path, text)
	}
	for group, want := range map[string]int64{"/a/b": 1000, "/a": 1000, "/": 0, "/c/d": 0} {
		self := write(t, root, "self", "1:name=systemd:/x\n0::"+group+"\n")
		got, ok := groupMemory(root, self)
		if got != want || ok != (want != 0) {
			t.Errorf("in the group %s: limit %d, %v; want %d", group, got, ok, want)
		}
	}
	if _, ok := groupMemory(root, filepath.Join(root, "none")); ok {
		t.Error("without control groups there is a limit")
	}
}

func TestFaultsAreAnError(t *testing.T) {
	_, err := readSettings(map[string]string{"SLUICE_X": "y"})
	var wrong faults
	if !errors.As(err, &wrong) || !wrong.of("SLUICE_X") {
		t.Errorf("got %v", err)
	}
}

func write(t *testing.T, dir, name, text string) (path string) {
	t.Helper()
	path = filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// makeCertificate makes a certificate for localhost that signs itself.
func makeCertificate(t *testing.T, dir string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "localhost"},
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		IsCA:         true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile = write(t, dir, "cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})))
	keyFile = write(t, dir, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	return certFile, keyFile
}

// A user name in a URL is a fault, and its password still nobody's business; what stands
// behind the question mark of wss:// may be a secret as well.
func TestConfigShowsNoPasswordOfAURL(t *testing.T) {
	s, err := readSettings(map[string]string{
		"SLUICE_DATA_DIR": t.TempDir(), "SLUICE_BRIDGE_0_UP": "a", "SLUICE_BRIDGE_1_UP": "a",
		"SLUICE_BRIDGE_1_URL": "wss://a/mqtt?token=secret@",
		"SLUICE_BRIDGE_0_URL": "mqtt://me:secret@a", "SLUICE_BRIDGE_0_PROXY": "http://me:secret@p",
	})
	shown := describe(allVariables(s.environ, s))
	for _, text := range []string{shown, err.Error()} {
		if strings.Contains(text, "secret@") {
			t.Errorf("shown: %s", text)
		}
	}
	if !strings.Contains(shown, "http://me:xxxxx@p") {
		t.Error("the proxy is not shown")
	}
	if !strings.Contains(shown, "wss://a/mqtt?xxxxx") {
		t.Error("the WebSocket is not shown")
	}
}
