package gateway

import (
	"net/netip"
	"time"

	"sluice/codec"
	"sluice/codec/sn"
	"sluice/gateway/topic"
	"sluice/gateway/transport"
)

// SN is what a Server is told of MQTT-SN. Zero values mean the defaults named.
type SN struct {
	GatewayID   byte              // 1; told in ADVERTISE and GWINFO
	Advertise   time.Duration     // 15 min; between two ADVERTISEs, whole seconds up to 65535
	Predefined  *topic.Predefined // topic ids; nil: none
	Anonymous   bool              // takes messages at QoS -1 from who has not connected, if Access lets everybody publish them
	Forwarders  []netip.Prefix    // who may encapsulate messages of others; none: nobody
	Roaming     bool              // over plain UDP, a sleeping device may wake at another address than it fell asleep at
	DTLSOnly    [][]byte          // topic filters; what they match neither comes from nor goes to plain UDP
	Retry       time.Duration     // 10 s; T_RETRY, after which a message without an answer is sent again
	Retries     int               // 4; N_RETRY, how often before the device is taken for lost
	MaxDatagram int               // 1,200 bytes; longer messages are not sent to devices
	MaxDevices  int               // 20,000; connected, asleep, and away with a session that lasts
	SleepBuffer int               // 4 KiB; of messages at QoS 0 for one device that sleeps, or is slow
}

func (c *SN) setDefaults() {
	setDefault(&c.GatewayID, 1)
	setDefault(&c.Advertise, 15*time.Minute)
	setDefault(&c.Retry, 10*time.Second)
	setDefault(&c.Retries, 4)
	setDefault(&c.MaxDatagram, 1200)
	setDefault(&c.MaxDevices, 20000)
	setDefault(&c.SleepBuffer, 4<<10)
}

// deviceKey is where an MQTT-SN device is. One of session and addr is set.
type deviceKey struct {
	session transport.Endpoint // of DTLS
	addr    netip.AddrPort     // on the UDP socket
	node    string             // behind the forwarder there; "": none
}

// path is a deviceKey with the way to it.
type path struct {
	deviceKey
	ep transport.Endpoint
}

// Datagram takes what came from a device, a forwarder, or somebody else. Part of
// transport.DatagramHandler.
func (s *Server) Datagram(ep transport.Endpoint, from netip.AddrPort, b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return
	}
	s.tick()
	at := path{ep: ep}
	switch {
	case ep.Wire() == "dtls":
		at.session = ep
	case s.group.ep == nil:
		return // as if the network had lost it: ServeUDP has not come yet
	default:
		at.addr = from
	}
	node, inner, err := sn.CutForward(b)
	if err != nil || node != nil && !s.forwards(&at) {
		s.discard(&s.stats.Datagrams.Bad)
		return
	}
	if node != nil {
		at.node = string(node)
	}
	m, err := s.datagrams.Decode(inner)
	if err != nil {
		s.discard(&s.stats.Datagrams.Bad)
		return
	}
	s.stats.PacketsIn++
	if d := s.devices[at.deviceKey]; d != nil {
		d.at.ep = ep
		d.receive(m, len(b))
		return
	}
	s.stranger(at, m)
}

// Ended takes the end of a DTLS session: the device is out of reach, but not gone. Part of
// transport.DatagramHandler.
func (s *Server) Ended(ep transport.Endpoint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.devices[deviceKey{session: ep}]; d != nil {
		d.moveTo(path{})
	}
}

// forwards says whether messages of others may come from there.
func (s *Server) forwards(at *path) bool {
	for _, p := range s.cfg.SN.Forwarders {
		if p.Contains(at.addr.Addr().Unmap()) {
			return true
		}
	}
	return false
}

// send sends a datagram there, wrapped for a node behind a forwarder. b may be written over.
func (s *Server) send(to path, b []byte) {
	if to.ep == nil {
		return
	}
	if to.node != "" {
		s.wrapped = sn.AppendForward(s.wrapped[:0], []byte(to.node), b)
		b = s.wrapped
	}
	to.ep.Send(b, to.addr)
}

// stranger acts on a message of somebody who is not connected. No answer is longer than
// the message: its address may be another's, who did not ask.
func (s *Server) stranger(at path, m sn.Message) {
	switch m := m.(type) {
	case *sn.Connect:
		s.meet(at, m)
	case *sn.Pingreq:
		if d := s.sleeper(at, m.ClientID); d != nil {
			d.moveTo(at)
			d.doubt()
			d.receive(m, 0)
			return
		}
		s.turnAway(at)
	case *sn.SearchGateway:
		s.answerSearch(at)
	case *sn.Publish:
		if m.QoS == -1 {
			s.publishUnconnected(at, m)
			return
		}
		s.turnAway(at)
	case *sn.Register, *sn.Subscribe, *sn.Unsubscribe, *sn.Disconnect, *sn.WillTopic, *sn.WillMessage,
		*sn.WillTopicUpdate, *sn.WillMessageUpdate, *sn.Puback, *sn.Pubrec, *sn.Pubrel, *sn.Pubcomp, *sn.Regack:
		s.turnAway(at)
	}
}

// turnAway tells somebody to connect first, section 6.12, as long as not too many are
// told: with a forged address each answer goes to somebody who did not ask.
func (s *Server) turnAway(at path) {
	if !s.mayAnswer(at) {
		return
	}
	s.out = (&sn.Disconnect{}).Append(s.out[:0])
	s.send(at, s.out)
}

// mayAnswer says whether a stranger is answered, and counts those who are not.
func (s *Server) mayAnswer(at path) bool {
	if at.session != nil || s.answers.Allow(at.addr.Addr(), s.now) {
		return true
	}
	s.discard(&s.stats.Datagrams.Unanswered)
	return false
}

// sleeper finds the device that wakes with this identifier at another place than it is
// known to be: over DTLS whoever has proved to be the same user; over plain UDP anybody
// could say so.
func (s *Server) sleeper(at path, clientID []byte) *device {
	to := s.sessions[string(clientID)]
	if to == nil || to.conn == nil || to.conn.dev == nil {
		return nil
	}
	d := to.conn.dev
	secure := at.session != nil
	switch {
	case d.state != asleep && d.state != awake, secure != d.secure:
		return nil
	case secure:
		if who := at.ep.Peer(); who.User == to.user && who.Name == d.identity {
			return d
		}
	case s.cfg.SN.Roaming:
		return d
	}
	return nil
}

// publishUnconnected takes a message at QoS -1, for which there is never an answer.
func (s *Server) publishUnconnected(at path, m *sn.Publish) {
	var user string
	if at.session != nil {
		user = at.ep.Peer().User
	}
	name, code := s.commonTopic(m.TopicIDType, m.TopicID)
	access := s.cfg.Access
	switch {
	case code != sn.Accepted:
		s.discard(&s.stats.Datagrams.Bad)
		return
	case !s.cfg.SN.Anonymous && at.session == nil, s.forbids(user) != "",
		name[0] == '$', at.session == nil && s.needsDTLS(name),
		access != nil && !access.CanPublish(user, "", name):
		s.drop(&s.stats.Dropped.NotAuthorized)
		return
	}
	s.stats.MessagesIn++
	pub := publication{live: true}
	pub.Topic, pub.Payload, pub.Retain = name, m.Data, m.Retain
	s.forward(&pub)
}

// commonTopic is the topic of a predefined id or a short name. It is valid until the next
// call.
func (s *Server) commonTopic(kind sn.TopicIDType, n uint16) ([]byte, sn.ReturnCode) {
	switch kind {
	case sn.PredefinedTopic:
		name, ok := s.cfg.SN.Predefined.Name(n)
		if !ok {
			return nil, sn.InvalidTopicID
		}
		s.name = append(s.name[:0], name...)
	case sn.ShortTopic:
		s.name = append(s.name[:0], byte(n>>8), byte(n))
		if codec.ValidTopic(s.name) != nil {
			return nil, sn.NotSupported
		}
	default:
		return nil, sn.NotSupported
	}
	return s.name, sn.Accepted
}

// needsDTLS says whether a topic is not for plain UDP.
func (s *Server) needsDTLS(name []byte) bool {
	for _, filter := range s.cfg.SN.DTLSOnly {
		if codec.Match(filter, name) {
			return true
		}
	}
	return false
}
