package main

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"sluice/bridge"
)

// bridgeOf reads the settings of one bridge, and returns what sluice config prints
// of it by name.
func bridgeOf(t *testing.T, environ map[string]string) (*bridgeSettings, map[string]variable, error) {
	t.Helper()
	all := map[string]string{"SLUICE_DATA_DIR": t.TempDir()}
	for name, value := range environ {
		all["SLUICE_BRIDGE_0_"+name] = value
	}
	s, err := readSettings(all)
	of := make(map[string]variable)
	for _, v := range allVariables(all, s) {
		if name, ok := strings.CutPrefix(v.Name, "SLUICE_BRIDGE_0_"); ok {
			of[name] = v
		}
	}
	return &s.Bridges[0], of, err
}

func TestPresets(t *testing.T) {
	dir := t.TempDir()
	cert, key := makeCertificate(t, dir)
	common := map[string]string{"UP": "plant/# 2", "USERNAME": "me"}
	for name, test := range map[string]struct {
		environ map[string]string
		set     map[string]string // by the preset
	}{
		"nats":     {map[string]string{"URL": "mqtt://a"}, map[string]string{"VERSION": "3.1.1"}},
		"emqx":     {map[string]string{"URL": "mqtt://a"}, map[string]string{"MAX_TOPIC_LEVELS": "128"}},
		"hivemq":   {map[string]string{"URL": "mqtts://a", "PASSWORD": "x"}, nil},
		"rabbitmq": {map[string]string{"URL": "mqtt://a"}, map[string]string{"MAX_QOS": "1"}},
		"aws": {map[string]string{"URL": "mqtts://x-ats.iot.eu-central-1.amazonaws.com:443", "CERT": cert, "KEY": key},
			map[string]string{"MAX_QOS": "1", "MAX_TOPIC_LEVELS": "8", "MAX_TOPIC_SIZE": "256", "MAX_UP_SIZE": "128KiB", "ALPN": "x-amzn-mqtt-ca"}},
		"azure-eventgrid": {map[string]string{"URL": "mqtts://x.westeurope-1.ts.eventgrid.azure.net", "CERT": cert, "KEY": key},
			map[string]string{"MAX_QOS": "1", "MAX_TOPIC_LEVELS": "8", "MAX_TOPIC_SIZE": "256", "MAX_UP_SIZE": "512KiB"}},
		"azure-iothub": {map[string]string{"URL": "mqtts://hub.azure-devices.net", "CLIENT_ID": "site7", "SAS_KEY": "c2VjcmV0", "USERNAME": "",
			"UP": "plant/# 1 -> devices/site7/messages/events/source=plant"},
			map[string]string{"VERSION": "3.1.1", "MAX_QOS": "1", "MAX_UP_SIZE": "256KiB",
				"USERNAME": "hub.azure-devices.net/site7/?api-version=2021-04-12", "DOWN": "devices/site7/messages/devicebound/# 1"}},
		"gcp-jwt": {map[string]string{"URL": "mqtts://mqtt.example", "JWT_KEY": key, "JWT_AUDIENCE": "project", "USERNAME": ""},
			map[string]string{"VERSION": "3.1.1", "MAX_QOS": "1", "USERNAME": "unused"}},
	} {
		t.Run(name, func(t *testing.T) {
			environ := maps.Clone(common)
			maps.Copy(environ, test.environ)
			environ["PRESET"] = name
			b, of, err := bridgeOf(t, environ)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range of {
				want, set := test.set[strings.TrimPrefix(v.Name, "SLUICE_BRIDGE_0_")]
				if (v.Origin == "preset "+name) != set || set && v.Value != want {
					t.Errorf("%s=%s from the %s, want %q by the preset", v.Name, v.Value, v.Origin, want)
				}
			}
			if _, err := bridge.New(b.config(new(settings), nil, nil)); err != nil && !strings.Contains(err.Error(), "no way to the gateway") {
				t.Errorf("the settings are good, but bridge.New finds: %v", err)
			}
			if len(test.set) == 0 {
				return
			}
			// One by one, what is set wins.
			for setting := range test.set {
				environ := maps.Clone(environ)
				other := map[string]string{"VERSION": "5", "MAX_QOS": "2", "USERNAME": "other", "ALPN": "mqtt", "DOWN": "cmd/# 2", "MAX_UP_SIZE": "1MiB"}[setting]
				if other == "" {
					other = "99"
				}
				environ[setting] = other
				if setting == "VERSION" && name == "azure-iothub" {
					environ["UP"] = "plant 1 -> devices/site7/messages/events/source=plant" // MQTT 5 has response topics
				}
				_, of, err := bridgeOf(t, environ)
				if v := of[setting]; err != nil || v.Value != other || v.Origin != "environment" {
					t.Errorf("%s=%s from the %s, %v", v.Name, v.Value, v.Origin, err)
				}
			}
		})
	}
}

func TestPresetFaults(t *testing.T) {
	dir := t.TempDir()
	cert, key := makeCertificate(t, dir)
	for name, test := range map[string]struct {
		environ map[string]string
		faults  []string
	}{
		"unknown": {map[string]string{"URL": "mqtt://a", "PRESET": "aws-iot"}, []string{`PRESET: "aws-iot" is none of nats, emqx, hivemq`}},
		"aws": {map[string]string{"URL": "mqtt://a", "PRESET": "aws"}, []string{
			"URL: AWS IoT Core is to be reached over TLS only: write mqtts://a", "CERT: missing: AWS IoT Core knows a device by its certificate"}},
		"hivemq": {map[string]string{"URL": "mqtts://a", "PRESET": "hivemq"}, []string{"USERNAME: missing: HiveMQ Cloud lets nobody in"}},
		"hivemq by address": {map[string]string{"URL": "mqtts://[::1]", "PRESET": "hivemq", "USERNAME": "me"}, []string{
			"URL: HiveMQ Cloud knows a cluster by the name it is called by in TLS, and ::1 is an address"}},
		"eventgrid": {map[string]string{"URL": "mqtts://a", "PRESET": "azure-eventgrid", "CERT": cert, "KEY": key}, []string{
			"USERNAME: missing: Event Grid wants the client authentication name"}},
		"iothub": {map[string]string{"URL": "mqtts://a", "PRESET": "azure-iothub"}, []string{
			"CERT: missing: IoT Hub knows a device by its certificate or its key", "CLIENT_ID: missing: set it to the device's identifier"}},
		"iothub topics": {map[string]string{"URL": "mqtts://a", "PRESET": "azure-iothub", "CLIENT_ID": "site7", "SAS_KEY": "c2VjcmV0"}, []string{
			"UP: plant/# 1: IoT Hub takes messages at devices/site7/messages/events/ only, with a property or more behind it: write plant/# 1 -> devices/site7/messages/events/source=plant"}},
		"gcp": {map[string]string{"URL": "mqtts://a", "PRESET": "gcp-jwt"}, []string{
			"JWT_KEY: missing: a device proves by its private key who it is", "JWT_AUDIENCE: missing"}},
		"tokens": {map[string]string{"URL": "mqtts://a", "USERNAME": "me", "PASSWORD": "x", "SAS_KEY": "s3cret!", "JWT_KEY": dir + "/none", "TOKEN_LIFE": "1s"}, []string{
			"SAS_KEY: set along with SLUICE_BRIDGE_0_PASSWORD: keep one", "JWT_KEY: set along with SLUICE_BRIDGE_0_PASSWORD: keep one",
			"SAS_KEY: not base64: copy the device's", "JWT_AUDIENCE: missing: SLUICE_BRIDGE_0_JWT_KEY makes tokens for somebody", "TOKEN_LIFE: 1s is not from 10s to 23h"}},
		"no key": {map[string]string{"URL": "mqtts://a", "JWT_KEY": dir + "/none", "JWT_AUDIENCE": "p"}, []string{
			"JWT_KEY: set, but SLUICE_BRIDGE_0_USERNAME is not", "JWT_KEY: open " + dir + "/none: no such file"}},
		"limits": {map[string]string{"URL": "mqtt://a", "MAX_QOS": "3", "MAX_TOPIC_SIZE": "0", "MAX_UP_SIZE": "1B", "VERSION": "4", "ALPN": "x", "JWT_AUDIENCE": "p"}, []string{
			"MAX_QOS: 3 is more than 2", "MAX_TOPIC_SIZE: 0 is less than 1", "MAX_UP_SIZE: 1 is less than 128", `VERSION: "4" is none of auto, 5, 3.1.1`,
			"ALPN: set, but mqtt:// is without TLS", "JWT_AUDIENCE: set, but SLUICE_BRIDGE_0_JWT_KEY is not"}},
	} {
		t.Run(name, func(t *testing.T) {
			environ := map[string]string{"UP": "plant/# 1"}
			maps.Copy(environ, test.environ)
			_, _, err := bridgeOf(t, environ)
			var got []string
			if err != nil {
				got = strings.Split(err.Error(), "\n")
			}
			slices.Sort(got)
			slices.Sort(test.faults)
			if len(got) != len(test.faults) {
				t.Fatalf("got  %q\nwant %q", got, test.faults)
			}
			for i, want := range test.faults {
				if !strings.HasPrefix(got[i], "SLUICE_BRIDGE_0_"+want) {
					t.Errorf("got  %s\nwant %s", got[i], want)
				}
				if strings.Contains(got[i], "s3cret") {
					t.Errorf("a secret is shown: %s", got[i])
				}
			}
		})
	}
}
