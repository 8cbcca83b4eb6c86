package bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sluice/codec"
	"sluice/codec/batch"
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
	hops   int    // how often that one may send on
}

func (r *refusal) Error() string {
	s := "refused: " + r.code.String()
	if r.reason != "" && r.reason != r.code.String() {
		s += fmt.Sprintf(" (%q)", r.reason)
	}
	if r.server != "" {
		s += fmt.Sprintf(", server reference %q", brief([]byte(r.server)))
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

// permanent reports whether err is a refusal that somebody has to mend; of several
// servers, of each of them.
func permanent(err error) bool {
	var several interface{ Unwrap() []error }
	if errors.As(err, &several) {
		return !slices.ContainsFunc(several.Unwrap(), func(err error) bool { return !permanent(err) })
	}
	return hint(err) != ""
}

// hint says what to do about err, if there is something that can be done here.
func hint(err error) string {
	if errors.Is(err, errProxyLogin) {
		return "check the proxy's user name and password"
	}
	if errors.Is(err, errInexact) {
		return "if at least once will do, set SLUICE_BRIDGE_n_MAX_QOS=1, as SLUICE_BRIDGE_n_PRESET=rabbitmq does, or QoS 1 in the rules; until then what is to go up waits"
	}
	var u *unwanted
	if errors.As(err, &u) {
		return "all that is to go up waits behind this message: allow its topic and size at the upstream; or set SLUICE_BRIDGE_n_MAX_UP_SIZE to what the upstream takes, and larger packets are dropped and reported as lost"
	}
	var r *refusal
	if !errors.As(err, &r) {
		return ""
	}
	switch r.code {
	case codec.BadUserNameOrPassword:
		return "check the bridge's user name and password, and this machine's clock if it makes passwords that expire"
	case codec.NotAuthorized, codec.BadAuthenticationMethod:
		return "check user name, password and client certificate, and what the upstream allows this client; and this machine's clock if it makes passwords that expire"
	case codec.ClientIdentifierNotValid:
		return "the upstream does not take this client identifier: choose another"
	case codec.SessionTakenOver:
		return "another client uses the same client identifier: give each gateway its own"
	case codec.Banned:
		return "the upstream has banned this client: ask its administrator"
	case codec.UnsupportedProtocolVersion:
		return "the upstream takes neither MQTT 5 nor 3.1.1: check that the URL is right"
	case codec.UseAnotherServer, codec.ServerMoved:
		return "set the URL to the server that the upstream names, or allow to be redirected there"
	}
	return ""
}

// An upstream is an accepted connection to the upstream, and what it offers.
type upstream struct {
	wire              *wire
	server            *server
	since             time.Time // of its password
	rank              int       // of the server in the list, or of the one that sent the bridge to it
	sessionPresent    bool      // and that session is the one that goes on
	behind            bool      // there is one, and it is not
	keepAlive         time.Duration
	auto              bool // the silence may be as long as the path survives, within keepAlive
	receiveMaximum    uint16
	maximumQoS        byte
	maximumPacketSize uint32 // 0: no limit
	noRetain          bool
	noWildcard        bool
	noShared          bool
	batches           bool // it takes them
	dictionary        bool // also packed with Config.BatchDictionary
}

// connectUpstream dials s, asks for version v and subscribes to what the
// upstream's session does not have already.
func (b *Bridge) connectUpstream(ctx context.Context, s *server, v codec.Version) (*upstream, error) {
	since := time.Now()
	password, err := b.password(since)
	if err != nil {
		return nil, err
	}
	connect := b.connectPacket(v)
	connect.Password = password
	ends := b.strange && v != codec.V5
	if ends {
		if err := b.endSession(ctx, s, *connect); err != nil {
			return nil, err
		}
	}
	w, ack, err := b.open(ctx, s, connect)
	if err != nil {
		return nil, err
	}
	up := &upstream{wire: w, server: s, since: since}
	b.take(up, ack)
	b.resume(up, ack.SessionPresent && !ends) // some say so always
	return up, nil
}

// endSession has an upstream forget the bridge's session, by a connection of its own:
// before MQTT 5 one with a clean session has none that lasts. [MQTT-3.1.2-6] of 3.1.1
func (b *Bridge) endSession(ctx context.Context, s *server, connect codec.Connect) error {
	connect.CleanStart = true
	w, _, err := b.open(ctx, s, &connect)
	if err != nil {
		return err
	}
	defer w.rwc.Close()
	_, err = w.rwc.Write((&codec.Disconnect{}).Append(nil, w.version))
	return err
}

// open dials s and sends CONNECT. The CONNACK is valid until the wire reads on.
func (b *Bridge) open(ctx context.Context, s *server, connect *codec.Connect) (*wire, *codec.Connack, error) {
	rwc, err := b.dial(ctx, s.url)
	if err != nil {
		return nil, nil, err
	}
	w := newWire(rwc, connect.Version)
	ack, err := b.introduce(ctx, w, connect)
	if err != nil {
		// A CONNACK lost on the way may have said that the session is new.
		b.subscribed = false
		b.doubt()
		if ack == nil {
			b.lineage.unanswered(s.name)
		}
		rwc.Close()
		return nil, nil, err
	}
	return w, ack, nil
}

// introduce sends CONNECT. The CONNACK is nil if none came, and valid until the wire reads
// on.
func (b *Bridge) introduce(ctx context.Context, w *wire, connect *codec.Connect) (*codec.Connack, error) {
	v := w.version
	if v == codec.V5 { // 3.1.1 can not be told
		w.maxSize = b.cfg.MaxPacketSize
	}
	w.dec.Extended = b.extended(v)
	stop := context.AfterFunc(ctx, func() { w.rwc.Close() })
	ack, err := w.handshake(connect)
	stop()
	switch {
	case err == nil && ack.Code >= 0x80:
		refused := &refusal{ack.Code, string(ack.ReasonString), string(ack.ServerReference), maxHops}
		if v != codec.V5 {
			refused.hops = int(ack.Hops)
		}
		err = refused
	case err == nil && w.version != v: // accepted, but in the form of another version
		err = errOldVersion
	case err != nil && err != errNoAnswer && len(w.in) == 0:
		err = &hungUp{err}
	}
	return ack, err
}

// take notes what the upstream offers, as far as the bridge may use it.
func (b *Bridge) take(up *upstream, ack *codec.Connack) {
	v := up.wire.version
	up.keepAlive, up.auto = b.keepAlive(), b.cfg.AutoKeepAlive
	if ack.HasServerKeepAlive && ack.ServerKeepAlive != 0 { // [MQTT-3.1.2-21]
		up.keepAlive = time.Duration(ack.ServerKeepAlive) * time.Second
	}
	up.maximumQoS = min(2, b.cfg.MaxQoS)
	if v == codec.V5 {
		up.maximumQoS = min(ack.MaximumQoS, b.cfg.MaxQoS)
	}
	up.maximumPacketSize = ack.MaximumPacketSize
	if most := b.cfg.MaxUpSize; most != 0 && (up.maximumPacketSize == 0 || up.maximumPacketSize > most) {
		up.maximumPacketSize = most
	}
	up.receiveMaximum = b.cfg.mostUp(v, ack.ReceiveMaximum)
	up.noRetain, up.noWildcard, up.noShared = ack.NoRetain, ack.NoWildcard, ack.NoShared
	up.batches, up.dictionary = batch.Understood(ack.User, b.cfg.BatchDictionary)
	if b.cfg.BatchUnasked {
		up.batches, up.dictionary = true, b.cfg.BatchDictionary != nil
	}
}

// resume finds out whether the session goes on, if the upstream has one, and brings its
// subscriptions to what they are to be.
func (b *Bridge) resume(up *upstream, present bool) {
	s, last := up.server, b.lineage.last
	moved := last != "" && last != s.name
	up.sessionPresent = b.lineage.accepted(s.name, present)
	up.behind = present && !up.sessionPresent
	if moved && up.sessionPresent { // nodes may share a session, and not its packet identifiers
		b.doubt()
		if from := b.servers[last]; from != nil {
			s.unreleased = from.unreleased
		}
		b.note(s.name, b.filters[last])
	}
	if !present {
		s.unreleased = &unreleased{known: true}
		delete(b.filters, s.name)
	}
	if !up.sessionPresent {
		b.subscribed, b.stale = false, true
		if b.echoes != nil {
			b.echoes.forget()
		}
	}
	b.asked, b.leaving = nil, nil
	if !b.subscribed {
		up.wire.send(b.subscribe(up))
	}
	up.wire.send(b.unsubscribe(up))
}

// doubt takes it that QoS 2 messages that the gateway waits to see released may be of a
// session that the upstream has lost.
func (b *Bridge) doubt() {
	b.doubtful = all()
	if b.known {
		b.doubtful = b.received
	}
}

// keepAlive is what to ask the upstream for: where the bridge finds out what the
// path survives, as much as there is.
func (b *Bridge) keepAlive() time.Duration {
	if b.cfg.AutoKeepAlive {
		return maxKeepAlive
	}
	return b.cfg.KeepAlive
}

// password is that of a connection that begins now.
func (b *Bridge) password(now time.Time) ([]byte, error) {
	if b.cfg.Token == nil {
		return b.cfg.Password, nil
	}
	return b.cfg.Token.password(now, b.cfg.TokenLife)
}

// connectPacket is the CONNECT to the upstream, without a token.
func (b *Bridge) connectPacket(v codec.Version) *codec.Connect {
	c := &codec.Connect{
		Version:           v,
		CleanStart:        b.strange && v == codec.V5, // before: see endSession
		KeepAlive:         uint16(b.keepAlive() / time.Second),
		ClientID:          []byte(b.cfg.ClientID),
		Password:          b.cfg.Password,
		SessionExpiry:     never,
		ReceiveMaximum:    b.cfg.mostDown(),
		MaximumPacketSize: b.cfg.MaxPacketSize,
	}
	if b.cfg.Username != "" || v != codec.V5 && (b.cfg.Password != nil || b.cfg.Token != nil) { // [MQTT-3.1.2-22] of 3.1.1
		c.Username = []byte(b.cfg.Username)
	}
	if b.cfg.Extensions != Unmarked {
		b.cfg.Extensions.mark(c, !b.cfg.Redirect.none(), uint16(b.hops))
	}
	return c
}

// takes reports whether a packet is not too large for the upstream [MQTT-3.2.2-15].
func (up *upstream) takes(packet []byte) bool {
	return up.maximumPacketSize == 0 || uint32(len(packet)) <= up.maximumPacketSize
}
