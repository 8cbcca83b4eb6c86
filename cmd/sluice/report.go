package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"sluice/bridge"
	"sluice/codec"
	"sluice/gateway"
)

// A report tells how a bridge fares on retained topics of the gateway:
//
//	$SYS/bridge/NAME/state    whether it is connected, since when, and what waits
//	$SYS/bridge/NAME/losses   what it should have sent up and did not, once there is any
type report struct {
	// Set once.
	srv     *gateway.Server
	bridge  *bridge.Bridge
	topic   string        // up to the last slash
	changed chan struct{} // has room for one
	fixed   bool          // paused by its settings, whatever clients say

	// Owned by run.
	state, losses []byte // as last published
}

// bridgeState is what a report says of a bridge, and sluice bridge reads.
type bridgeState struct {
	Name      string    `json:"bridge"`
	Connected bool      `json:"connected"`
	Paused    bool      `json:"paused"`
	PausedBy  string    `json:"paused_by,omitempty"` // bySettings or byClient
	Since     time.Time `json:"since,omitzero"`      // of connected; zero: it never was
	Server    string    `json:"server,omitempty"`
	Version   string    `json:"version,omitempty"` // of MQTT
	Messages  int       `json:"messages"`          // that wait to go up
	Bytes     int64     `json:"bytes"`             // of these
	Window    int       `json:"window"`            // messages at QoS 1 and 2 that may be under way up; 0: not connected
	Oldest    int64     `json:"oldest"`            // seconds that the oldest of these has waited, since the start at most
	Error     string    `json:"error,omitempty"`   // why the last connection ended or failed
	Hint      string    `json:"hint,omitempty"`    // what to do about that
}

// Who may have paused a bridge. The first goes before the second, which stays until a client
// resumes the bridge.
const (
	bySettings = "settings"
	byClient   = "client"
)

// How long after one report the next may be made, which is also how often it looks at what waits
// while that goes up, and how often it looks else.
const (
	gather    = time.Second
	lookEvery = 10 * time.Second
)

// inTopic makes a bridge's name one level of a topic.
var inTopic = strings.NewReplacer("/", "%2F", "+", "%2B", "#", "%23")

func newReport(srv *gateway.Server, name string) *report {
	return &report{srv: srv, topic: "$SYS/bridge/" + inTopic.Replace(name) + "/", changed: make(chan struct{}, 1)}
}

// wake says that there is something new to tell. It does not wait.
func (r *report) wake() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// run reports until ctx ends.
func (r *report) run(ctx context.Context) {
	for {
		look := lookEvery
		if s := r.publish(); s.Connected && s.Messages > 0 {
			look = gather
		}
		rest := time.After(gather)
		select {
		case <-r.changed:
		case <-time.After(look):
			continue
		case <-ctx.Done():
			r.publish()
			return
		}
		select { // a bridge that flaps, or loses messages by the thousand
		case <-rest:
		case <-ctx.Done():
		}
	}
}

// publish tells what is new.
func (r *report) publish() bridgeState {
	s := r.now()
	state, _ := json.Marshal(s)
	r.retain("state", state, &r.state, r.srv.Tell)
	if l, ok := r.srv.Losses(r.bridge.ClientID()); ok && l.Messages > 0 {
		losses, _ := json.Marshal(l)
		r.retain("losses", losses, &r.losses, r.srv.Publish)
	}
	return s
}

func (r *report) now() bridgeState {
	status := r.bridge.Status()
	s := bridgeState{Name: r.bridge.Name(), Connected: status.Connected, Paused: status.Paused, Since: status.Since.Round(time.Millisecond), Server: status.Server, Window: status.Window}
	switch {
	case !s.Paused:
	case r.fixed:
		s.PausedBy = bySettings
	default:
		s.PausedBy = byClient
	}
	if status.Version != 0 {
		s.Version = status.Version.String()
	}
	if status.Err != nil {
		s.Error, s.Hint = status.Err.Error(), status.Hint
	}
	b := r.srv.Backlog(r.bridge.ClientID())
	s.Messages, s.Bytes, s.Oldest = b.Messages, b.Bytes, int64(b.Oldest/time.Second)
	return s
}

func (r *report) retain(name string, payload []byte, last *[]byte, publish func(codec.Message)) {
	if bytes.Equal(payload, *last) {
		return
	}
	*last = payload
	publish(codec.Message{Topic: []byte(r.topic + name), Payload: payload, Retain: true, HasPayloadFormat: true, PayloadFormat: 1, ContentType: []byte("application/json")})
}

// clear takes back what was told of a bridge that is no more.
func (r *report) clear() {
	for _, name := range []string{"state", "losses"} {
		r.srv.Publish(codec.Message{Topic: []byte(r.topic + name), Retain: true})
	}
}

// pausedNote is what the gateway keeps of a bridge that a client has paused.
const pausedNote = "paused"

// reports are the bridges that can be told what to do, by their names.
type reports struct {
	mu     sync.Mutex
	byName map[string]*report
}

func (all *reports) add(r *report) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.byName == nil {
		all.byName = make(map[string]*report)
	}
	all.byName[r.bridge.Name()] = r
}

func (all *reports) remove(r *report) {
	all.mu.Lock()
	defer all.mu.Unlock()
	delete(all.byName, r.bridge.Name())
}

// list is sorted by their bridges' names.
func (all *reports) list() []*report {
	all.mu.Lock()
	defer all.mu.Unlock()
	return slices.SortedFunc(maps.Values(all.byName), func(a, b *report) int { return cmp.Compare(a.bridge.Name(), b.bridge.Name()) })
}

// control is gateway.Config.Control: on bridge/NAME, pause, resume or drain.
func (all *reports) control(cmd *gateway.Command) codec.ReasonCode {
	all.mu.Lock()
	defer all.mu.Unlock()
	for name, r := range all.byName {
		if cmd.Topic != "bridge/"+inTopic.Replace(name) {
			continue
		}
		switch cmd.Payload {
		case "pause":
			cmd.Keep(r.bridge.ClientID(), pausedNote)
			r.bridge.Pause(byClient)
		case "resume":
			if r.fixed {
				return codec.ImplementationSpecificError
			}
			cmd.Keep(r.bridge.ClientID(), "")
			r.bridge.Resume()
		case "drain":
			go r.srv.Drain(r.bridge.ClientID()) // whose lock is held
		default:
			cmd.Why = "a bridge understands pause, resume and drain"
			return codec.PayloadFormatInvalid
		}
		return codec.Success
	}
	return codec.TopicNameInvalid
}
