package bridge

import (
	"net/url"
	"strings"
	"testing"
)

func topics(t *testing.T, address string, up, down string) Config {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	split := func(text string) []Rule {
		if text == "" {
			return nil
		}
		return mustRules(t, strings.Split(text, ",")...)
	}
	return Config{Name: address, URL: u, Up: split(up), Down: split(down)}
}

func TestCheckTopics(t *testing.T) {
	at := func(address, up, down string) Config { return topics(t, address, up, down) }
	second := at("mqtt://b", "t/#", "")
	second.Others = hosts("a")
	prefixed := at("mqtt://a", "x/#", "$share/g/s/#")
	prefixed.UpPrefix = "s/"
	for _, c := range []struct {
		name    string
		bridges []Config
		faults  []string // beginnings: index, way, text
	}{
		{"good", []Config{at("mqtt://a", "s/+/t -> x/$1,s/#", "cmd/# -> c/$1"), at("mqtt://a", "s/#", "cmd/#")}, nil},
		{"the same both ways", []Config{at("mqtt://a", "#", "#")}, nil},
		{"no turn", []Config{at("mqtt://a", "s/# 1,t/#,s/+/x -> y/$1", "")}, []string{"0 up s/+/x never gets its turn, since s/# before it"}},
		{"no turn, down", []Config{at("mqtt://a", "", "s/+,$share/g/s/+ retain=off")}, []string{"0 down $share/g/s/+ never gets its turn, since s/+ before it"}},
		{"a subscription more", []Config{at("mqtt://a", "", "s/+ 1,s/1 2,$share/g/s/+")}, nil},
		{"no way back", []Config{at("mqtt://a", "s/+/+ -> x/$1", "cmd")}, []string{"0 up s/+/+ -> x/$1 leaves out $2"}},
		{"no way back, but nothing comes", []Config{at("mqtt://a", "s/+/+ -> x/$1", "")}, nil},
		{"shared up", []Config{at("mqtt://a", "$share/g/a", "")}, []string{"0 up $share/g/a: $share is for topics that come down"}},
		{"shared echo", []Config{at("mqtt://a", "s/#", "$share/g/s/#")}, []string{"0 down $share/g/s/# brings down again what s/# sends up"}},
		{"shared echo by prefix", []Config{prefixed}, []string{"0 down $share/g/s/# brings down again what x/# sends up"}},
		{"nobody waits down there", []Config{at("mqtt://a", "s/# 1 ack=upstream", "t/# 1 ack=upstream")}, []string{"0 down t/#: ack=upstream is for topics that go up"}},
		{"round through two", []Config{at("mqtt://a:1883", "s/#", "t/#"), at("ws://a", "t/+ -> t/$1", "")}, []string{`0 down t/# comes down to where bridge "ws://a" sends it up again`}},
		{"the same server, among others", []Config{at("mqtt://a", "s/#", "t/#"), second}, []string{"0 down t/# comes down"}},
		{"another server", []Config{at("mqtt://a", "s/#", "t/#"), at("mqtt://b", "t/#", "")}, nil},
		{"another port", []Config{at("mqtt://a:1", "s/#", "t/#"), at("mqtt://a:2", "t/#", "")}, nil},
		{"under another name", []Config{at("mqtt://a", "s/#", "t/#"), at("mqtt://a", "t/# -> u/$1", "")}, nil},
		{"round through three", []Config{
			at("mqtt://a", "", "t/# -> l/$1"), at("mqtt://b", "l/# -> m/$1", ""), at("mqtt://b", "", "m/# -> n/$1"), at("mqtt://a", "n/# -> t/$1", ""),
		}, []string{"0 down t/# comes down", "2 down m/# comes down"}},
	} {
		got := CheckTopics(c.bridges)
		for i := range max(len(got), len(c.faults)) {
			switch {
			case i >= len(got):
				t.Errorf("%s: not found: %s", c.name, c.faults[i])
			case i >= len(c.faults):
				t.Errorf("%s: a fault too many: %+v", c.name, got[i])
			default:
				text := strings.Join([]string{string(rune('0' + got[i].Bridge)), got[i].Way, got[i].Text}, " ")
				if !strings.HasPrefix(text, c.faults[i]) {
					t.Errorf("%s: got %q, want %q", c.name, text, c.faults[i])
				}
			}
		}
	}
}

func TestExplain(t *testing.T) {
	cfg := topics(t, "mqtt://a", "s/+/t 1 -> x/$1 retain=off,s/# 0,r/# -> $1", "")
	cfg.UpPrefix = "p/"
	for _, c := range []struct {
		way, topic string
		want       Passage
	}{
		{"up", "s/1/t", Passage{"s/+/t 1 -> x/$1 retain=off", "x/1", 1, "off", "the first rule that matches"}},
		{"up", "s/1/u", Passage{"s/# 0", "p/s/1/u", 0, "as published", "the first rule that matches"}},
		{"up", "r", Passage{"r/# 2 -> $1", "", 2, "as published", "the rule leaves nothing of the topic"}},
		{"up", "q", Passage{Why: "no rule matches"}},
		{"up", "$SYS/x", Passage{Why: "no rule matches; + and # do not match topics that begin with $"}},
		{"up", "s/" + strings.Repeat("u", 65533), Passage{"s/# 0", "", 0, "as published", "the name would be longer than 65535 bytes"}},
		{"down", "s/1/t", Passage{Why: "the bridge carries nothing down"}},
	} {
		if got := cfg.Explain(c.way, c.topic); got != c.want {
			t.Errorf("%s %.20s: %+v, want %+v", c.way, c.topic, got, c.want)
		}
	}
}
