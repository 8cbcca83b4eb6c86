package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sluice/codec"
	"sluice/gateway"
)

// bridgeReport is what the gateway retains about one bridge.
type bridgeReport struct {
	bridgeState
	Losses *gateway.Losses `json:"losses,omitempty"` // nil: there were none
}

// bridge prints how the bridges of a running gateway fare, or tells one what to do.
func (c *command) bridge(ctx context.Context) error {
	var to target
	f := c.flags("bridge")
	if err := to.flags(f, c.environ); err != nil {
		return err
	}
	asJSON := f.Bool("json", false, "")
	args, err := c.parse(f, 2)
	if err != nil {
		return err
	}
	if len(args) == 2 {
		return tellBridge(ctx, &to, args[0], args[1])
	}
	list, err := readReports(ctx, &to)
	if err != nil {
		return err
	}
	if len(args) == 1 {
		var names []string
		for _, r := range list {
			names = append(names, r.Name)
		}
		list = slices.DeleteFunc(list, func(r bridgeReport) bool { return r.Name != args[0] })
		if len(list) == 0 {
			return fmt.Errorf("the gateway tells nothing of a bridge %q, but of these: %s", args[0], cmp.Or(strings.Join(names, ", "), "none"))
		}
	}
	if *asJSON {
		e := json.NewEncoder(c.stdout)
		e.SetIndent("", "  ")
		return e.Encode(list)
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(c.stdout, "the gateway has no bridge, or does not let this user read $SYS/bridge/#")
		return err
	}
	for i := range list {
		if _, err := fmt.Fprint(c.stdout, list[i].text(time.Now())); err != nil {
			return err
		}
	}
	return nil
}

// tellBridge has a bridge pause, resume or drain, and waits until its state says so, if this
// user may read that.
func tellBridge(ctx context.Context, to *target, name, what string) error {
	if what != "pause" && what != "resume" && what != "drain" {
		return usage("%q is none of pause, resume, drain", what)
	}
	client, err := to.connect(ctx, &codec.Connect{CleanStart: true})
	if err != nil {
		return err
	}
	defer client.disconnect()
	ctx, cancel := context.WithTimeout(ctx, time.Duration(to.timeout))
	defer cancel()
	stop := context.AfterFunc(ctx, client.disconnect)
	defer stop()
	topic := inTopic.Replace(name)
	sub := codec.Subscribe{ID: subscribeID, Subscriptions: []codec.Subscription{{Filter: []byte("$SYS/bridge/" + topic + "/state")}}}
	b := sub.Append(nil, client.version)
	pub := codec.Publish{ID: 1, Message: codec.Message{Topic: []byte("$CONTROL/bridge/" + topic), Payload: []byte(what), QoS: 1}}
	if err := client.sendBytes(pub.Append(b, client.version)); err != nil {
		return err
	}
	var state bridgeState
	taken, blind := false, false
	for !taken || !blind && !state.obeys(what) {
		packet, err := client.receive()
		if taken && ctx.Err() == context.DeadlineExceeded {
			return fmt.Errorf("the gateway has taken it, but within %v bridge %q does not say that it obeys: see sluice bridge", &to.timeout, name)
		}
		if err != nil {
			return fmt.Errorf("connection lost: %w", err)
		}
		switch p := packet.(type) {
		case *codec.Suback:
			blind = len(p.Codes) == 1 && p.Codes[0] >= codec.UnspecifiedError
		case *codec.Publish:
			if json.Unmarshal(p.Payload, &state) != nil {
				return errNotReport
			}
		case *codec.Puback:
			if err := disobeyed(p, name, what); err != nil {
				return err
			}
			taken = true
		}
	}
	return nil
}

// obeys says whether a bridge in this state has done what it was told.
func (s *bridgeState) obeys(what string) bool {
	switch what {
	case "pause":
		return s.Paused && !s.Connected
	case "resume":
		return !s.Paused
	}
	return true
}

// disobeyed is why the gateway does not have a bridge do what it was told.
func disobeyed(ack *codec.Puback, name, what string) error {
	switch {
	case ack.Code < codec.UnspecifiedError:
		return nil
	case ack.Code == codec.TopicNameInvalid:
		return fmt.Errorf("the gateway has no bridge %q", name)
	case ack.Code == codec.NotAuthorized:
		return fmt.Errorf("the gateway takes this from its own machine, or with accounts from one that the users file grants it: write $CONTROL/bridge/%s (sluice help passwd)", inTopic.Replace(name))
	case ack.Code == codec.ImplementationSpecificError:
		return fmt.Errorf("its settings have bridge %q paused: it stays so until SLUICE_BRIDGE_n_PAUSED says otherwise and the gateway has read that (SIGHUP)", name)
	}
	return refused("to "+what, ack.Code, ack.ReasonString)
}

// readReports asks a gateway for what it retains about its bridges.
func readReports(ctx context.Context, to *target) ([]bridgeReport, error) {
	client, err := to.connect(ctx, &codec.Connect{CleanStart: true})
	if err != nil {
		return nil, err
	}
	defer client.disconnect()
	stop := context.AfterFunc(ctx, client.disconnect)
	defer stop()
	p := codec.Subscribe{ID: subscribeID, Subscriptions: []codec.Subscription{{Filter: []byte("$SYS/bridge/#")}}}
	b := p.Append(nil, client.version)
	b = (&codec.Pingreq{}).Append(b, client.version) // is answered behind what is retained
	if err := client.sendBytes(b); err != nil {
		return nil, err
	}
	found := map[string]*bridgeReport{} // by the topic of both
	for {
		packet, err := client.receive()
		if err != nil {
			return nil, fmt.Errorf("connection lost: %w", err)
		}
		switch p := packet.(type) {
		case *codec.Suback:
			if len(p.Codes) == 1 && p.Codes[0] >= codec.UnspecifiedError {
				return nil, refused("to subscribe to $SYS/bridge/#", p.Codes[0], p.ReasonString)
			}
		case *codec.Publish:
			if err := addReport(found, p); err != nil {
				return nil, err
			}
		case *codec.Pingresp:
			list := []bridgeReport{}
			for _, r := range found {
				list = append(list, *r)
			}
			slices.SortFunc(list, func(a, b bridgeReport) int { return cmp.Compare(a.Name, b.Name) })
			return list, nil
		}
	}
}

var errNotReport = errors.New("the server retains something else under $SYS/bridge: is it Sluice?")

// addReport takes a message of a report.
func addReport(found map[string]*bridgeReport, p *codec.Publish) error {
	slash := strings.LastIndexByte(string(p.Topic), '/')
	about, what := string(p.Topic[:slash]), string(p.Topic[slash+1:])
	r := found[about]
	if r == nil {
		r = new(bridgeReport)
		found[about] = r
	}
	var err error
	switch what {
	case "state":
		err = json.Unmarshal(p.Payload, &r.bridgeState)
	case "losses":
		err = json.Unmarshal(p.Payload, &r.Losses)
	}
	if err != nil {
		return errNotReport
	}
	return nil
}

// text is a report for people.
func (r *bridgeReport) text(now time.Time) string {
	var b strings.Builder
	state := "not connected"
	if r.Paused {
		state = "paused by a client"
		if r.PausedBy == bySettings {
			state = "paused by its settings"
		}
	}
	if r.Connected {
		state = "connected to " + r.Server + ", MQTT " + r.Version
	}
	if !r.Since.IsZero() {
		state += ", for " + now.Sub(r.Since).Round(time.Second).String()
	}
	fmt.Fprintf(&b, "%s: %s\n", r.Name, state)
	fmt.Fprintf(&b, "  waiting to go up: %d messages, %d bytes", r.Messages, r.Bytes)
	if r.Messages > 0 {
		fmt.Fprintf(&b, ", the oldest for %v", time.Duration(r.Oldest)*time.Second)
	}
	if r.Window > 0 {
		fmt.Fprintf(&b, ", at most %d under way", r.Window)
	}
	b.WriteByte('\n')
	if r.Error != "" {
		fmt.Fprintf(&b, "  last error: %s\n", r.Error)
	}
	if r.Hint != "" {
		fmt.Fprintf(&b, "  what to do: %s\n", r.Hint)
	}
	if l := r.Losses; l != nil {
		fmt.Fprintf(&b, "  lost: %d messages, from %s to %s\n", l.Messages, l.First.Format(time.RFC3339), l.Last.Format(time.RFC3339))
		for _, counts := range []struct {
			title string
			of    map[string]uint64
		}{{"why", l.Causes}, {"of", l.Topics}} {
			for _, name := range byCount(counts.of) {
				fmt.Fprintf(&b, "    %s %s: %d\n", counts.title, name, counts.of[name])
			}
		}
		if l.OtherTopics > 0 {
			fmt.Fprintf(&b, "    of other topics: %d\n", l.OtherTopics)
		}
	}
	return b.String()
}

// byCount sorts names, those with the highest counts first.
func byCount(counts map[string]uint64) (names []string) {
	for name := range counts {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	return names
}
