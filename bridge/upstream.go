package bridge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sluice/codec"
)

// patience is how long dialling, the handshakes of TLS and WebSocket, and the
// answer to CONNECT may take, each.
const patience = 10 * time.Second

const never = 1<<32 - 1 // Session Expiry Interval

var (
	errOldVersion = errors.New("MQTT version not supported")
	errNoAnswer   = fmt.Errorf("no answer to CONNECT within %v", patience)
	errNotConnack = errors.New("answer to CONNECT is another packet than CONNACK")
)

// A refusal is a CONNACK or DISCONNECT with a reason to fail.
type refusal struct {
	code   codec.ReasonCode
	reason string // in the words of the server, if it has any
	server string // the other one to use, if it names any
}

func (r *refusal) Error() string {
	s := "refused: " + r.code.String()
	if r.reason != "" {
		s += fmt.Sprintf(" (%q)", r.reason)
	}
	if r.server != "" {
		s += fmt.Sprintf(", server reference %q", r.server)
	}
	return s
}

func (r *refusal) Is(err error) bool {
	return err == errOldVersion && r.code == codec.UnsupportedProtocolVersion
}

// hungUp is a connection that ended on CONNECT without an answer. So some old
// servers tell that they do not know the version; others are just not there.
type hungUp struct{ err error }

func (h *hungUp) Error() string        { return "connection closed on CONNECT: " + h.err.Error() }
func (h *hungUp) Is(target error) bool { return target == errOldVersion }
func (h *hungUp) Unwrap() error        { return h.err }

// permanent reports whether err is a refusal that somebody has to mend.
func permanent(err error) bool { return hint(err) != "" }

// hint says what to do about err, if there is something that can be done here.
func hint(err error) string {
	var r *refusal
	if !errors.As(err, &r) {
		return ""
	}
	switch r.code {
	case codec.BadUserNameOrPassword:
		return "check the bridge's user name and password"
	case codec.NotAuthorized, codec.BadAuthenticationMethod:
		return "check user name, password and client certificate, and what the upstream allows this client"
	case codec.ClientIdentifierNotValid:
		return "the upstream does not take this client identifier: choose another"
	case codec.SessionTakenOver:
		return "another client uses the same client identifier: give each gateway its own"
	case codec.Banned:
		return "the upstream has banned this client: ask its administrator"
	case codec.UnsupportedProtocolVersion:
		return "the upstream takes neither MQTT 5 nor 3.1.1: check that the URL is right"
	case codec.UseAnotherServer, codec.ServerMoved:
		return "set the URL to the server that the upstream names"
	}
	return ""
}

// An upstream is an accepted connection to the upstream, and what it offers.
type upstream struct {
	wire              *wire
	sessionPresent    bool
	keepAlive         time.Duration
	receiveMaximum    uint16
	maximumQoS        byte
	maximumPacketSize uint32 // 0: no limit
	noRetain          bool
}

// connectUpstream dials, asks for version v and subscribes to what the
// upstream's session does not have already.
func (b *Bridge) connectUpstream(ctx context.Context, v codec.Version) (*upstream, error) {
	rwc, err := b.dial(ctx)
	if err != nil {
		return nil, err
	}
	w := newWire(rwc, v)
	if v == codec.V5 { // 3.1.1 can not be told
		w.maxSize = b.cfg.MaxPacketSize
	}
	stop := context.AfterFunc(ctx, func() { rwc.Close() })
	ack, err := w.handshake(b.connectPacket(v))
	stop()
	switch {
	case err == nil && ack.Code >= 0x80:
		err = &refusal{ack.Code, string(ack.ReasonString), string(ack.ServerReference)}
	case err == nil && w.version != v: // accepted, but in the form of another version
		err = errOldVersion
	case err != nil && err != errNoAnswer && len(w.in) == 0:
		err = &hungUp{err}
	}
	if err != nil {
		b.subscribed = false // a CONNACK lost on the way may have said that the session is new
		rwc.Close()
		return nil, err
	}
	up := &upstream{
		wire:              w,
		sessionPresent:    ack.SessionPresent,
		keepAlive:         b.cfg.KeepAlive,
		receiveMaximum:    b.cfg.MaxInflight,
		maximumQoS:        2,
		maximumPacketSize: ack.MaximumPacketSize,
		noRetain:          ack.NoRetain,
	}
	if v == codec.V5 {
		up.maximumQoS = ack.MaximumQoS
	}
	if ack.ReceiveMaximum != 0 {
		up.receiveMaximum = min(up.receiveMaximum, ack.ReceiveMaximum)
	}
	if ack.HasServerKeepAlive && ack.ServerKeepAlive != 0 { // [MQTT-3.1.2-21]
		up.keepAlive = time.Duration(ack.ServerKeepAlive) * time.Second
	}
	if !up.sessionPresent {
		b.subscribed, b.stale = false, true
	}
	if !b.subscribed {
		up.wire.send(b.subscribe(up))
	}
	return up, nil
}

func (b *Bridge) connectPacket(v codec.Version) *codec.Connect {
	c := &codec.Connect{
		Version:           v,
		KeepAlive:         uint16(b.cfg.KeepAlive / time.Second),
		ClientID:          []byte(b.cfg.ClientID),
		Password:          b.cfg.Password,
		SessionExpiry:     never,
		ReceiveMaximum:    b.cfg.MaxInflight,
		MaximumPacketSize: b.cfg.MaxPacketSize,
	}
	if b.cfg.Username != "" || v != codec.V5 && b.cfg.Password != nil { // [MQTT-3.1.2-22] of 3.1.1
		c.Username = []byte(b.cfg.Username)
	}
	return c
}

// filtersPerSubscribe is what also the narrowest servers take.
const filtersPerSubscribe = 8

// subscribe returns the SUBSCRIBE packets for Down. Their identifiers are at
// the far end from those that the gateway begins with; as the first packets
// after CONNECT they are answered before another of the same could arrive.
func (b *Bridge) subscribe(up *upstream) (packets []byte) {
	for first, id := 0, uint16(1<<16-1); first < len(b.cfg.Down); first, id = first+filtersPerSubscribe, id-1 {
		p := codec.Subscribe{ID: id}
		for _, r := range b.chunk(id) {
			_, _, shared := codec.SplitShare([]byte(r.Filter))
			p.Subscriptions = append(p.Subscriptions, codec.Subscription{
				Filter:            []byte(r.Filter),
				QoS:               min(r.QoS, up.maximumQoS),
				NoLocal:           !shared, // [MQTT-3.8.3-4]
				RetainAsPublished: true,
				RetainHandling:    1, // retained messages only for a new subscription
			})
		}
		packets = p.Append(packets, up.wire.version)
	}
	return packets
}

// chunk returns the part of Down that the SUBSCRIBE with this identifier holds.
func (b *Bridge) chunk(id uint16) []Rule {
	first := min((1<<16-1-int(id))*filtersPerSubscribe, len(b.cfg.Down))
	return b.cfg.Down[first:min(first+filtersPerSubscribe, len(b.cfg.Down))]
}

// granted takes the answer to a SUBSCRIBE.
func (b *Bridge) granted(p *codec.Suback) {
	rules := b.chunk(p.ID)
	for i, code := range p.Codes {
		switch {
		case i >= len(rules):
		case code >= 0x80:
			b.log.Warn("upstream refuses a subscription", "filter", rules[i].Filter, "reason", code.String(), "text", string(p.ReasonString))
		case byte(code) < rules[i].QoS:
			b.log.Info("upstream grants a lower QoS", "filter", rules[i].Filter, "qos", byte(code))
		}
	}
	if last := 1<<16 - 1 - (len(b.cfg.Down)-1)/filtersPerSubscribe; int(p.ID) == last {
		b.subscribed = true
	}
}
