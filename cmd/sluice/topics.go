package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"sluice/bridge"
	"sluice/codec"
)

// topics explains what the bridges do with a topic.
func (c *command) topics(context.Context) error {
	if len(c.args) > 0 && c.args[0] == "explain" {
		c.args = c.args[1:]
		return c.explainTopic()
	}
	if _, err := c.parse(c.flags("topics"), 0); err != nil {
		return err
	}
	return usage("write sluice topics explain TOPIC")
}

func (c *command) explainTopic() error {
	f := c.flags("topics")
	asJSON := f.Bool("json", false, "")
	args, err := c.parse(f, 1)
	if err != nil {
		return err
	}
	if len(args) == 0 {
		return usage("the topic is missing")
	}
	if err := codec.ValidTopic([]byte(args[0])); err != nil {
		return usage("%q is not a topic: %s", args[0], err.Text)
	}
	s, err := readSettings(c.environ)
	if err != nil {
		return err
	}
	list := s.explain(args[0])
	if *asJSON {
		e := json.NewEncoder(c.stdout)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false) // the -> of rules
		return e.Encode(list)
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(c.stdout, "there is no bridge: set SLUICE_BRIDGE_0_URL")
		return err
	}
	for _, e := range list {
		if _, err := fmt.Fprintf(c.stdout, "bridge %s, %s\n", e.Bridge, e.URL); err != nil {
			return err
		}
		e.Up.print(c.stdout, "published here:     ")
		e.Down.print(c.stdout, "published upstream: ")
		for _, on := range e.Down.On {
			on.print(c.stdout, "    and on through bridge "+on.Bridge+": ")
		}
	}
	return nil
}

// explanation is what one bridge does with a topic.
type explanation struct {
	Bridge string   `json:"bridge"`
	URL    string   `json:"url"`
	Up     passage  `json:"up"`   // of a message published here
	Down   passages `json:"down"` // of one published upstream
}

// passages is the way down, and on from here.
type passages struct {
	passage
	On []onward `json:"on,omitempty"`
}

type onward struct {
	Bridge string `json:"bridge"`
	passage
}

type passage bridge.Passage

// explain asks each bridge.
func (s *settings) explain(topic string) []explanation {
	list := []explanation{}
	configs := make([]bridge.Config, len(s.Bridges))
	for i := range s.Bridges {
		configs[i] = s.Bridges[i].config(s, nil, nil)
	}
	for i := range configs {
		e := explanation{
			Bridge: configs[i].Name,
			URL:    s.Bridges[i].URL.String(),
			Up:     passage(configs[i].Explain("up", topic)),
			Down:   passages{passage: passage(configs[i].Explain("down", topic))},
		}
		for j := range configs {
			if i == j || e.Down.Topic == "" {
				continue // what a bridge brought it does not take: No Local
			}
			if on := configs[j].Explain("up", e.Down.Topic); on.Topic != "" {
				e.Down.On = append(e.Down.On, onward{configs[j].Name, passage(on)})
			}
		}
		list = append(list, e)
	}
	return list
}

// print writes a line for people.
func (p *passage) print(w io.Writer, front string) {
	if p.Topic == "" {
		rule := ""
		if p.Rule != "" {
			rule = " (" + p.Rule + ")"
		}
		fmt.Fprintf(w, "  %snot carried: %s%s\n", front, p.Why, rule)
		return
	}
	fmt.Fprintf(w, "  %s%s, QoS %d at most, retain %s, by %s: %s\n", front, p.Topic, p.QoS, p.Retain, p.Rule, p.Why)
}
