package main

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"sluice/bridge"
)

// A preset is what one service needs that does not say so itself, and nothing more.
type preset struct {
	name string

	// settings returns those that are not as for other upstreams; get reads what the
	// user has set. nil: none.
	settings func(get func(name string) string) map[string]string

	// check finds what is missing. nil: nothing can be.
	check func(c *checker, b *bridgeSettings)
}

// presets, with the limits that the services publish; deploy/clouds.md explains
// them.
var presets = []preset{
	{name: "nats", settings: fixed(map[string]string{"VERSION": "3.1.1"})},
	{name: "emqx", settings: fixed(map[string]string{"MAX_TOPIC_LEVELS": "128"})},
	{name: "hivemq", check: func(c *checker, b *bridgeSettings) {
		c.needTLS(b, "HiveMQ Cloud")
		for _, u := range b.urls {
			if net.ParseIP(u.Hostname()) != nil {
				c.add("URL", "HiveMQ Cloud knows a cluster by the name it is called by in TLS, and %s is an address: write mqtts://....hivemq.cloud:8883", u.Hostname())
			}
		}
		c.need("USERNAME", b.Username, "HiveMQ Cloud lets nobody in without one: make credentials in its console")
	}},
	{name: "rabbitmq", settings: fixed(map[string]string{"MAX_QOS": "1"})},
	{name: "aws",
		settings: func(get func(string) string) map[string]string {
			s := map[string]string{"MAX_QOS": "1", "MAX_TOPIC_LEVELS": "8", "MAX_TOPIC_SIZE": "256", "MAX_UP_SIZE": "128KiB"}
			if firstURL(get).Port() == "443" {
				s["ALPN"] = "x-amzn-mqtt-ca"
			}
			return s
		},
		check: func(c *checker, b *bridgeSettings) {
			c.needTLS(b, "AWS IoT Core")
			if b.Username == "" { // of a custom authorizer
				c.need("CERT", b.Cert, "AWS IoT Core knows a device by its certificate: set CERT and KEY")
			}
		}},
	{name: "azure-eventgrid",
		settings: fixed(map[string]string{"MAX_QOS": "1", "MAX_TOPIC_LEVELS": "8", "MAX_TOPIC_SIZE": "256", "MAX_UP_SIZE": "512KiB"}),
		check: func(c *checker, b *bridgeSettings) {
			c.needTLS(b, "Event Grid")
			c.need("USERNAME", b.Username, "Event Grid wants the client authentication name")
			c.need("CERT", b.Cert, "Event Grid knows a client by its certificate: set CERT and KEY")
		}},
	{name: "azure-iothub",
		settings: func(get func(string) string) map[string]string {
			s := map[string]string{"VERSION": "3.1.1", "MAX_QOS": "1", "MAX_UP_SIZE": "256KiB"}
			if id := get("CLIENT_ID"); id != "" {
				s["USERNAME"] = firstURL(get).Hostname() + "/" + id + "/?api-version=2021-04-12"
				s["DOWN"] = "devices/" + id + "/messages/devicebound/# 1"
			}
			return s
		},
		check: checkIoTHub},
	{name: "gcp-jwt",
		settings: fixed(map[string]string{"VERSION": "3.1.1", "MAX_QOS": "1", "USERNAME": "unused"}),
		check: func(c *checker, b *bridgeSettings) {
			c.needTLS(b, "the service")
			c.need("JWT_KEY", b.JWTKey, "a device proves by its private key who it is")
			c.need("JWT_AUDIENCE", b.JWTAudience, "set it to the identifier of the project")
		}},
}

func fixed(settings map[string]string) func(func(string) string) map[string]string {
	return func(func(string) string) map[string]string { return settings }
}

// firstURL is the first of the list, empty if it is none.
func firstURL(get func(string) string) *url.URL {
	text, _, _ := strings.Cut(get("URL"), ",")
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil {
		return new(url.URL)
	}
	return u
}

// checkIoTHub: every device has its own topics, and IoT Hub hangs up on others.
func checkIoTHub(c *checker, b *bridgeSettings) {
	c.needTLS(b, "IoT Hub")
	if b.SASKey == "" {
		c.need("CERT", b.Cert, "IoT Hub knows a device by its certificate or its key: set CERT and KEY, or SAS_KEY")
	}
	if !b.clientIDSet {
		c.add("CLIENT_ID", "missing: set it to the device's identifier in IoT Hub")
		return
	}
	up := "devices/" + b.ClientID + "/messages/events/"
	for _, rule := range b.Up {
		to := rule.To
		if to == "" {
			to = b.UpPrefix + rule.Filter
		}
		if !strings.HasPrefix(to, up) {
			c.add("UP", "%s: IoT Hub takes messages at %s only, with a property or more behind it: write %s 1 -> %ssource=plant", rule, up, rule.Filter, up)
		}
	}
}

// need finds that something is not set.
func (c *checker) need(name, text, why string) {
	if text == "" {
		c.add(name, "missing: %s", why)
	}
}

func (c *checker) needTLS(b *bridgeSettings, who string) {
	for _, u := range b.urls {
		if !secure(u) {
			c.add("URL", "%s is to be reached over TLS only: write mqtts://%s", who, u.Host)
		}
	}
}

func presetNames() string {
	var names []string
	for _, p := range presets {
		names = append(names, p.name)
	}
	return strings.Join(names, ", ")
}

// presetOf is the preset of bridge n, nil if there is none.
func presetOf(environ map[string]string, n int) *preset {
	name := environ[bridgeVariable(n, "PRESET")]
	i := slices.IndexFunc(presets, func(p preset) bool { return p.name == name })
	if i < 0 {
		return nil
	}
	return &presets[i]
}

// presetSettings are the variables that the preset of bridge n sets where the
// environment does not.
func presetSettings(environ map[string]string, n int) map[string]string {
	p := presetOf(environ, n)
	if p == nil || p.settings == nil {
		return nil
	}
	set := make(map[string]string)
	for name, value := range p.settings(func(name string) string { return environ[bridgeVariable(n, name)] }) {
		name = bridgeVariable(n, name)
		if environ[name] == "" && environ[name+"_FILE"] == "" {
			set[name] = value
		}
	}
	return set
}

// withPreset is environ with what the preset of bridge n sets.
func withPreset(environ map[string]string, n int) map[string]string {
	environ = maps.Clone(environ)
	maps.Copy(environ, presetSettings(environ, n))
	return environ
}

func (c *checker) preset(environ map[string]string, b *bridgeSettings) {
	p := presetOf(environ, b.number)
	switch {
	case b.Preset != "" && p == nil:
		c.add("PRESET", "%q is none of %s", b.Preset, presetNames())
	case p != nil && p.check != nil:
		p.check(c, b)
	}
}

// tokens checks what passwords are made of.
func (c *checker) tokens(b *bridgeSettings) {
	var ways []string
	for _, p := range []struct{ name, text string }{{"PASSWORD", string(b.Password)}, {"SAS_KEY", string(b.SASKey)}, {"JWT_KEY", b.JWTKey}} {
		if p.text == "" {
			continue
		}
		if b.Username == "" {
			c.add(p.name, "set, but %sUSERNAME is not", c.prefix)
		}
		if ways = append(ways, p.name); len(ways) > 1 {
			c.add(p.name, "set along with %s%s: keep one", c.prefix, ways[0])
		}
	}
	if b.TokenLife < 10*time.Second || b.TokenLife > 23*time.Hour {
		c.add("TOKEN_LIFE", "%v is not from 10s to 23h", b.TokenLife)
	}
	switch {
	case b.SASKey != "" && len(b.urls) > 0:
		key, err := base64.StdEncoding.DecodeString(string(b.SASKey))
		if err != nil {
			c.add("SAS_KEY", "not base64: copy the device's primary or secondary key") // err would show a part of it
		}
		b.token = &bridge.SAS{Key: key, Resource: b.urls[0].Hostname() + "/devices/" + b.ClientID}
	case b.JWTKey != "":
		key, err := bridge.LoadSigner(b.JWTKey)
		if err != nil {
			c.add("JWT_KEY", "%v", err)
		}
		b.token = &bridge.JWT{Key: key, Audience: b.JWTAudience}
	}
	if b.JWTKey != "" {
		c.need("JWT_AUDIENCE", b.JWTAudience, fmt.Sprintf("%sJWT_KEY makes tokens for somebody", c.prefix))
	} else if b.JWTAudience != "" {
		c.add("JWT_AUDIENCE", "set, but %sJWT_KEY is not", c.prefix)
	}
}
