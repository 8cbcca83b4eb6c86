package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"sluice/cmd/sluice/snclient"
	"sluice/codec"
	sncodec "sluice/codec/sn"
	"sluice/gateway/access"
	"sluice/gateway/transport"
)

// sn runs the commands for MQTT-SN.
func (c *command) sn(ctx context.Context) error {
	name := ""
	if len(c.args) > 0 {
		name, c.args = c.args[0], c.args[1:]
	}
	switch name {
	case "pub":
		return c.snPub(ctx)
	case "sub":
		return c.snSub(ctx)
	case "search":
		return c.snSearch(ctx)
	case "-h", "-help", "--help":
		return flag.ErrHelp
	}
	return usage("say what to do: sluice sn pub, sluice sn sub or sluice sn search")
}

// snTarget is the gateway that sn pub and sn sub use, and as whom.
type snTarget struct {
	certificates
	url, host, clientID string
	identity, keyFile   string
	keepAlive, retry    secondsFlag
	retries             int
	will                snclient.Will
	willMessage         string
}

// flags defines the flags that sn pub and sn sub share.
func (t *snTarget) flags(f *flag.FlagSet) {
	t.keepAlive = secondsFlag(time.Minute)
	t.retry = secondsFlag(10 * time.Second)
	f.StringVar(&t.url, "url", "", "")
	f.StringVar(&t.host, "h", "", "")
	f.StringVar(&t.clientID, "i", "sluice-"+rand.Text()[:12], "")
	f.StringVar(&t.identity, "psk-identity", "", "")
	f.StringVar(&t.keyFile, "psk-file", "", "")
	t.certificates.flags(f)
	f.Var(&t.keepAlive, "k", "")
	f.Var(&t.retry, "retry", "")
	f.IntVar(&t.retries, "retries", 4, "")
	f.StringVar(&t.will.Topic, "will-topic", "", "")
	f.StringVar(&t.willMessage, "will-message", "", "")
	f.Var((*qosFlag)(&t.will.QoS), "will-q", "")
	f.BoolVar(&t.will.Retain, "will-r", false, "")
}

// address is where to dial.
func (t *snTarget) address() (*url.URL, error) {
	text := t.url
	switch {
	case t.url != "" && t.host != "":
		return nil, usage("give -url or -h, not both")
	case t.host != "":
		text = "udp://" + t.host
	case t.url == "":
		text = "udp://localhost"
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || snPorts[u.Scheme] == 0 {
		return nil, usage("%s: not a URL such as udp://gateway.example or dtls://gateway.example:8883", text)
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), strconv.Itoa(snPorts[u.Scheme]))
	}
	return u, nil
}

// snPorts is where gateways listen.
var snPorts = map[string]int{"udp": snPort, "dtls": 8883}

const snPort = 1883

// config is what the flags say of the client.
func (t *snTarget) config() (snclient.Config, error) {
	config := snclient.Config{
		ClientID:  t.clientID,
		KeepAlive: time.Duration(t.keepAlive),
		Retry:     time.Duration(t.retry),
		Retries:   t.retries,
	}
	switch {
	case t.clientID == "":
		return config, usage("a client identifier has at least one character: -i")
	case t.retry <= 0 || t.retries < 0:
		return config, usage("-retry is more than 0 seconds, and -retries no less than 0")
	case t.will.Topic == "" && (t.willMessage != "" || t.will.Retain || t.will.QoS > 0):
		return config, usage("a Will has a topic: -will-topic")
	case t.will.Topic == "":
		return config, nil
	}
	if err := codec.ValidTopic([]byte(t.will.Topic)); err != nil {
		return config, usage("-will-topic %s: %s", t.will.Topic, err.Text)
	}
	t.will.Data = []byte(t.willMessage)
	config.Will = &t.will
	return config, nil
}

// open dials the gateway.
func (t *snTarget) open(ctx context.Context, config snclient.Config) (*snclient.Client, error) {
	u, err := t.address()
	if err != nil {
		return nil, err
	}
	conn, err := t.dial(ctx, u)
	if err != nil {
		return nil, err
	}
	return snclient.New(conn, config), nil
}

func (t *snTarget) dial(ctx context.Context, u *url.URL) (net.Conn, error) {
	if u.Scheme == "udp" {
		if t.identity != "" || t.certificates != (certificates{}) {
			return nil, usage("keys and certificates are for DTLS: -url dtls://%s", u.Hostname())
		}
		conn, err := new(net.Dialer).DialContext(ctx, "udp", u.Host)
		if err != nil {
			return nil, &failure{exitUnreachable, fmt.Errorf("%s: %w", u, err)}
		}
		return conn, nil
	}
	conf, err := t.dtlsConfig(u)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, t.patience())
	defer cancel()
	conn, err := transport.DialDTLS(ctx, u.Host, conf)
	if err != nil {
		return nil, &failure{exitUnreachable, fmt.Errorf("%s: %w: is SLUICE_SN_DTLS_ADDR set there, and is this key or certificate known?", u, err)}
	}
	return conn, nil
}

// dtlsConfig is how this client and the gateway prove who they are.
func (t *snTarget) dtlsConfig(u *url.URL) (conf transport.DTLSClient, err error) {
	if (t.identity == "") != (t.keyFile == "") {
		return conf, usage("-psk-identity and -psk-file go together: give both")
	}
	if t.identity == "" {
		certs, err := t.tlsConfig()
		if err != nil {
			return conf, err
		}
		return transport.DTLSClient{Roots: certs.RootCAs, Certificates: certs.Certificates, ServerName: u.Hostname()}, nil
	}
	text, err := os.ReadFile(t.keyFile)
	if err != nil {
		return conf, usage("-psk-file: %w", err)
	}
	key, err := access.ParseKey(strings.TrimSpace(string(text)))
	if err != nil {
		return conf, usage("-psk-file %s: %w: the file holds the key and nothing else", t.keyFile, err)
	}
	return transport.DTLSClient{Identity: t.identity, Key: key}, nil
}

// connect dials the gateway and connects.
func (t *snTarget) connect(ctx context.Context, config snclient.Config) (*snclient.Client, error) {
	c, err := t.open(ctx, config)
	if err != nil {
		return nil, err
	}
	if err := c.Connect(ctx); err != nil {
		c.Close()
		return nil, t.unreachable(err)
	}
	return c, nil
}

// unreachable makes an error of connecting one that says what to look at.
func (t *snTarget) unreachable(err error) error {
	u, _ := t.address()
	switch {
	case errors.Is(err, snclient.ErrRefused):
		err = fmt.Errorf("%s: %w: is the gateway running, with SLUICE_SN_ADDR set?", u, err)
	case errors.Is(err, snclient.ErrSilent):
		err = fmt.Errorf("%s: %w to CONNECT within %v: is it a gateway, and does every firewall let UDP through?", u, err, t.patience())
	default:
		return err
	}
	return &failure{exitUnreachable, err}
}

// patience is how long a request takes to fail.
func (t *snTarget) patience() time.Duration {
	return time.Duration(t.retry) * time.Duration(t.retries+1)
}

// late makes silence a time-out.
func (t *snTarget) late(err error) error {
	if errors.Is(err, snclient.ErrSilent) {
		return &failure{exitTimeout, fmt.Errorf("not acknowledged within %v", t.patience())}
	}
	return err
}

// topicFlags defines the three ways to name a topic, which valid checks where it is a
// normal one.
func topicFlags(f *flag.FlagSet, topics *[]snclient.Topic, valid func([]byte) *codec.Error) {
	f.Func("t", "", func(text string) error {
		if err := valid([]byte(text)); err != nil {
			return errors.New(err.Text)
		}
		*topics = append(*topics, snclient.Topic{Name: text})
		return nil
	})
	f.Func("short", "", func(text string) error {
		if len(text) != 2 || codec.ValidTopic([]byte(text)) != nil {
			return errors.New("a short topic name has two bytes and no wildcard")
		}
		*topics = append(*topics, snclient.Topic{Type: sncodec.ShortTopic, Name: text})
		return nil
	})
	f.Func("predefined", "", func(text string) error {
		id, err := strconv.ParseUint(text, 10, 16)
		if err != nil || id == 0 || id == 1<<16-1 {
			return errors.New("a predefined topic id is a number from 1 to 65534")
		}
		*topics = append(*topics, snclient.Topic{Type: sncodec.PredefinedTopic, ID: uint16(id)})
		return nil
	})
}
