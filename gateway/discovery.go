package gateway

import (
	"net/netip"
	"time"

	"sluice/codec/sn"
	"sluice/gateway/transport"
)

// ServeUDP tells the server of its socket for plain UDP: devices that were here before a
// restart are reached by it. If group is valid, ADVERTISE goes there, a multicast or
// broadcast address, and so do answers to SEARCHGW.
func (s *Server) ServeUDP(ep transport.Endpoint, group netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tick()
	s.group = path{ep: ep}
	s.group.addr = group
	for _, d := range s.devices {
		if d.at.session == nil && d.at.ep == nil {
			d.at.ep = ep
			d.conn.session.pump()
		}
	}
	if group.IsValid() {
		s.advertiser.owner = (*advertiser)(s)
		(*advertiser)(s).expire()
	}
}

// advertiser tells the network that the gateway is there.
type advertiser Server

func (a *advertiser) expire() {
	s := (*Server)(a)
	every := s.cfg.SN.Advertise
	s.out = (&sn.Advertise{GatewayID: s.cfg.SN.GatewayID, Duration: uint16(every / time.Second)}).Append(s.out[:0])
	s.send(s.group, s.out)
	s.setTimer(&s.advertiser, s.now+every)
}

// answerSearch answers SEARCHGW: to who asks, and to the group, so that others need not ask.
func (s *Server) answerSearch(at path) {
	if !s.mayAnswer(at) {
		return
	}
	s.out = (&sn.GatewayInfo{GatewayID: s.cfg.SN.GatewayID}).Append(s.out[:0])
	s.send(at, s.out)
	if s.group.addr.IsValid() && at.session == nil && s.mayAnswer(s.group) {
		s.send(s.group, s.out)
	}
}
